"""The ingress: takes requests in, sends each to a replica that has its adapter, tells all replicas of new ones."""

import asyncio
import contextlib
import logging
from collections.abc import Callable
from typing import Any

from fastapi import FastAPI, HTTPException
from pydantic import BaseModel, ConfigDict
from ray.exceptions import RayError
from ray.serve.exceptions import RayServeException
from ray.serve.handle import DeploymentHandle
from ray.serve.llm.ingress import OpenAiIngress
from understudy_privacy import listen_privately

from serve.engine.adapter_engine import BASE_NAME
from serve.hub_sync.adapter_cache import SERVED_NAME

log = logging.getLogger("ray.serve")

ALL_ANSWER = 120.0
"""Seconds that all replicas together get to load an adapter."""

LOOK = 1.5
"""Seconds for a look at all replicas; the gateway waits 2 for it."""

BROADCASTS = 5
"""Times that all replicas are told something, when one of them dies in the middle of it."""


class AdapterRequest(BaseModel):
    """As vLLM's own; its `lora_path` is not needed: the name says which revision, and the store where it is."""

    model_config = ConfigDict(extra="ignore")

    lora_name: str


class Ingress(OpenAiIngress):
    """Sends each request to a replica that has its adapter, and tells all replicas about new ones."""

    def __init__(self, *args: Any, **more: Any) -> None:
        listen_privately()
        super().__init__(*args, **more)

    async def load_adapter(self, body: AdapterRequest) -> dict[str, Any]:
        """Answers when every running replica has the adapter, or with the first reason why one has not."""
        reports = await self._everywhere("load", _checked(body.lora_name))
        if errors := [report["error"] for report in reports if "error" in report]:
            await self._everywhere("unload", body.lora_name)
            raise HTTPException(400, errors[0])
        return {"replicas": reports}

    async def unload_adapter(self, body: AdapterRequest) -> dict[str, Any]:
        """Every replica forgets it."""
        self._configured_serve_handles.pop(body.lora_name, None)
        return {"replicas": await self._everywhere("unload", _checked(body.lora_name))}

    async def replicas(self) -> dict[str, Any]:
        """Which replicas there are, and what each has loaded."""
        return {"replicas": await self._everywhere("report")}

    async def health(self) -> dict[str, int]:
        """200 as long as one replica answers, however busy or stuck the others are."""
        try:
            asked = await self._all.broadcast("report")._fetch_replica_results_async()
        except RayServeException as error:
            raise HTTPException(503, "there is no replica") from error
        looks = [asyncio.ensure_future(result.get_async()) for result in asked]
        try:
            for look in asyncio.as_completed(looks, timeout=LOOK):
                with contextlib.suppress(RayError, RayServeException):  # this one is dead or dying
                    await look
                    return {"replicas": len(looks)}
        except TimeoutError:
            log.warning("no replica answers within %s s", LOOK)
        finally:
            for look in looks:
                look.cancel()
        raise HTTPException(503, "no replica answers")

    @property
    def _all(self) -> DeploymentHandle:
        return self._default_serve_handles[BASE_NAME]

    async def _everywhere(self, method: str, *args: str) -> list[dict[str, Any]]:
        """What every running replica answers. One that dies meanwhile is running no more, and all are asked again."""
        for _ in range(BROADCASTS):
            try:
                answers = await self._all.broadcast(method, *args).results_async(
                    timeout_s=ALL_ANSWER, return_exceptions=True
                )
            except TimeoutError:  # not a 5xx, which would be asked again
                raise HTTPException(408, f"a replica did not answer within {ALL_ANSWER:.0f} s") from None
            except RayServeException as error:
                raise HTTPException(503, "there is no replica") from error
            if answers and all(isinstance(answer, dict) for answer in answers):
                return sorted(answers, key=lambda answer: answer["replica"])
            await asyncio.sleep(0.5)
        failed = next((answer for answer in answers if not isinstance(answer, dict)), "none is there")
        log.error("not all replicas answer %s: %s", method, failed)
        raise HTTPException(503, f"not all replicas answer: {type(failed).__name__}")

    async def _get_model_id(self, model: str | None) -> str:
        """Names are the gateway's own, where Ray's would be `base:persona@revision`."""
        if model == BASE_NAME or (model and SERVED_NAME.fullmatch(model)):
            return model
        raise HTTPException(404, f"{model!r:.100} is neither {BASE_NAME} nor persona@revision")

    def _get_configured_serve_handle(self, model_id: str) -> DeploymentHandle:
        """The base may go to any replica; an adapter goes to one that has it, if any has."""
        handles = self._configured_serve_handles
        if model_id not in handles:
            wanted = {} if model_id == BASE_NAME else {"multiplexed_model_id": model_id}
            handles[model_id] = self._all.options(stream=True, **wanted)
        return handles[model_id]


ROUTES: dict[str, Callable[[FastAPI], Callable]] = {
    "models": lambda app: app.get("/v1/models"),
    "completions": lambda app: app.post("/v1/completions"),
    "chat": lambda app: app.post("/v1/chat/completions"),
    "load_adapter": lambda app: app.post("/v1/load_lora_adapter"),
    "unload_adapter": lambda app: app.post("/v1/unload_lora_adapter"),
    "replicas": lambda app: app.get("/replicas"),
    "health": lambda app: app.get("/health"),
}


def _checked(name: str) -> str:
    if not SERVED_NAME.fullmatch(name):
        raise HTTPException(400, f"{name!r:.100} names no adapter; they are called persona@revision")
    return name
