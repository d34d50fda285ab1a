"""The engines on Ray Serve: replicas that know adapters by their immutable names, behind one address.

    deploy/ray/run.sh deploy/ray/serve_config.yaml

What it answers is vLLM's own HTTP, so the gateway needs nothing but its address (`UNDERSTUDY_ENGINE_URL`):

    POST /v1/chat/completions, /v1/completions   `model` is `base` or `persona@revision`
    POST /v1/load_lora_adapter                   200 when *every* running replica has it
    POST /v1/unload_lora_adapter
    GET  /v1/models, /replicas, /health

Nothing here is a gateway: no keys, no limits. It listens on loopback, or where only the gateway can reach it.
"""

import asyncio
import contextlib
import logging
import os
import re
import subprocess
from collections.abc import AsyncGenerator, Callable
from ipaddress import ip_address
from typing import Any

import ray
from fastapi import FastAPI, HTTPException
from pydantic import BaseModel, ConfigDict, Field
from ray import serve
from ray.exceptions import RayError
from ray.llm._internal.common.callbacks.base import CallbackBase, CallbackConfig
from ray.llm._internal.common.models import global_id_manager
from ray.llm._internal.serve.core.configs.llm_config import DiskMultiplexConfig
from ray.llm._internal.serve.core.configs.openai_api_models import to_model_metadata
from ray.llm._internal.serve.utils.lora_serve_utils import LoraModelLoader
from ray.serve._private import replica
from ray.serve.deployment import Application
from ray.serve.exceptions import RayServeException
from ray.serve.handle import DeploymentHandle
from ray.serve.llm import LLMConfig, LLMServer, LoraConfig, ModelLoadingConfig, build_llm_deployment
from ray.serve.llm.ingress import OpenAiIngress, make_fastapi_ingress

from serve.adapter_folders import SERVED_NAME, AdapterFolders
from serve.engine import BASE_NAME, EnginePlan, engine_environment, plan_engine
from understudy.bases import base_revision, resolve_base
from understudy.errors import UnderstudyError
from understudy.settings import Settings, load_settings

log = logging.getLogger("ray.serve")

ALL_ANSWER = 120.0
"""Seconds that all replicas together get to load an adapter."""

LOOK = 1.5
"""Seconds for a look at all replicas; the gateway waits 2 for it."""

BROADCASTS = 5
"""Times that all replicas are told something, when one of them dies in the middle of it."""

PASSED_ON = re.compile(r"UNDERSTUDY_|HF_|OMP_|GOMP_|VLLM_|PYTHONPATH$")
"""Variables of the one who starts the application that its replicas get, too, on whichever machine they run."""

KEPT = re.compile(r"KEY|SECRET|TOKEN|PASSWORD|DATABASE_URL")
"""But not these: Ray writes the others to its logs. A replica finds them in its machine's own environment."""


class StoreLoader(LoraModelLoader):
    """Finds adapters in the shared store instead of a bucket."""

    def __init__(self, *args: Any, **more: Any) -> None:
        super().__init__(*args, **more)
        self._folders = AdapterFolders(load_settings())

    async def load_model_from_config(self, lora_model_id: str, llm_config: LLMConfig) -> DiskMultiplexConfig:
        """Where the adapter of that immutable name is. Raises NotFoundError and AdapterError."""
        folder = await asyncio.to_thread(self._folders.find, lora_model_id)
        number = global_id_manager.next()
        return DiskMultiplexConfig(
            model_id=lora_model_id, max_total_tokens=None, local_path=str(folder), lora_assigned_int_id=number
        )


class Replica(LLMServer):
    """One vLLM. It loads an adapter when it is told to, or else when somebody asks for it."""

    async def __init__(self, llm_config: LLMConfig, **more: Any) -> None:
        self._asked = 0
        listen_privately()
        self._leash = end_group_with_us()
        in_process = os.environ.get("VLLM_ENABLE_V1_MULTIPROCESSING") == "0"
        engine_cls = one_process_engine() if in_process else None
        await super().__init__(llm_config, model_downloader=StoreLoader, engine_cls=engine_cls, **more)
        await self._learn()

    async def chat(self, *request: Any) -> AsyncGenerator[Any, None]:
        """As vLLM's, and counted."""
        self._asked += 1
        return await super().chat(*request)

    async def completions(self, *request: Any) -> AsyncGenerator[Any, None]:
        """As vLLM's, and counted."""
        self._asked += 1
        return await super().completions(*request)

    async def load(self, name: str) -> dict[str, Any]:
        """Loads an adapter; see `report`. `error` says why it could not."""
        try:
            await self.engine.resolve_lora(await self._load_model(name))
        except (UnderstudyError, ValueError) as error:
            return await self.report() | {"error": str(error)}
        return await self.report()

    async def unload(self, name: str) -> dict[str, Any]:
        """Forgets an adapter, if it is there."""
        from vllm.entrypoints.serve.lora.protocol import UnloadLoRAAdapterRequest

        if name in self.engine._oai_models.lora_requests:
            await self.engine._oai_models.unload_lora_adapter(UnloadLoRAAdapterRequest(lora_name=name))
        return await self.report()

    async def report(self) -> dict[str, Any]:
        """Who this is, how often it was asked, and which adapters its vLLM has."""
        return {
            "replica": serve.get_replica_context().replica_id.unique_id,
            "node": ray.get_runtime_context().get_node_id(),
            "pid": os.getpid(),
            "asked": self._asked,
            "adapters": sorted(self.engine._oai_models.lora_requests),
        }

    async def _learn(self) -> None:
        """A replica that joins loads what the others have before it takes requests.

        The first of all have nobody to ask, and whatever is missing here is loaded when it is asked for.
        """
        context = serve.get_replica_context()
        others = serve.get_deployment_handle(context.deployment, context.app_name)
        try:
            reports = await others.broadcast("report").results_async(timeout_s=LOOK, return_exceptions=True)
        except (RayServeException, RayError, TimeoutError):
            return
        for name in {name for report in reports if isinstance(report, dict) for name in report["adapters"]}:
            await self.load(name)


def one_process_engine() -> type:
    """Ray's vLLM, computing in the replica itself as `serve.engine` has it on a CPU; Ray would add a worker process."""
    from ray.llm._internal.serve.engines.vllm.vllm_engine import VLLMEngine

    class OneProcess(VLLMEngine):
        def _start_async_llm_engine(self, args: Any, config: Any, placement_group: Any) -> Any:
            config.parallel_config.distributed_executor_backend = "uni"
            return super()._start_async_llm_engine(args, config, placement_group)

    return OneProcess


def listen_privately() -> None:
    """On a node of loopback, this process's server for other replicas listens there, too.

    Serve binds it to all addresses, it asks for no token, and it unpickles what it is sent.
    """
    if not ip_address(ray.util.get_node_ip_address()).is_loopback:
        return
    bind = replica.add_port_to_grpc_server
    replica.add_port_to_grpc_server = lambda server, address: bind(server, address.replace("[::]", "127.0.0.1"))


def end_group_with_us() -> subprocess.Popen[bytes] | None:
    """Ends this process's group when it dies, however it dies: a killed replica's vLLM would keep all the memory.

    Ray gives each of its workers a group of its own.
    """
    if os.getpgrp() != os.getpid():
        return None
    waits = f"cat >/dev/null; kill -KILL -{os.getpid()}"
    return subprocess.Popen(["/bin/sh", "-c", waits], stdin=subprocess.PIPE, start_new_session=True)


class BaseIsHere(CallbackBase):
    """Spares the tasks that download the base, each of which imports all of vLLM and keeps it for minutes."""

    async def on_before_node_init(self) -> None:
        self.ctx.run_init_node = False


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
            except (RayServeException, TimeoutError) as error:
                raise HTTPException(503, f"not all replicas answer: {error}") from error
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


class Plan(BaseModel):
    """The `args` of serve_config.yaml: how many replicas, and how large. The engine itself is set by UNDERSTUDY_*."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    min_replicas: int = Field(default=1, ge=0)
    max_replicas: int = Field(default=1, ge=1)
    target_ongoing_requests: float = Field(default=16, gt=0)
    """Answers in progress that one replica should have; more begin another replica."""
    max_ongoing_requests: int = Field(default=64, ge=1)
    """Answers in progress that one replica may have; more wait."""
    upscale_delay_s: float = 30
    downscale_delay_s: float = 600
    cpus: float = 1
    """Of each replica; for Ray's book-keeping, and on a CPU also vLLM's threads."""
    gpus: int = 0
    """Of each replica; more than one means tensor parallelism."""
    adapters: int = Field(default=0, ge=0)
    """That each replica keeps in memory; 0 means twice its slots."""
    ingresses: int = Field(default=1, ge=1)
    """Processes that take requests in."""


def build(args: dict[str, Any]) -> Application:
    """The application, from the `args` of serve_config.yaml and UNDERSTUDY_*; what `import_path` names."""
    settings, wanted = load_settings(), Plan.model_validate(args)
    plan = plan_engine(settings, resolve_base(settings.base), personas=0, on_cpu=not wanted.gpus)
    config = engine_config(settings, plan, wanted)
    ingress = serve.deployment(
        make_fastapi_ingress(Ingress, endpoint_map=ROUTES),
        name="ingress",
        num_replicas=wanted.ingresses,
        max_ongoing_requests=10_000,  # the gateway limits them
        ray_actor_options={"num_cpus": 0, "runtime_env": {"env_vars": _environment()}},
    )
    return ingress.bind(
        llm_deployments={BASE_NAME: build_llm_deployment(config, name_prefix="engine:", deployment_cls=Replica)},
        model_cards={BASE_NAME: to_model_metadata(BASE_NAME, config)},
    )


def engine_config(settings: Settings, plan: EnginePlan, wanted: Plan) -> LLMConfig:
    """Ray's description of one replica: the engine that `understudy serve` would start."""
    environment = _environment() | engine_environment(plan)
    if plan.on_cpu:
        # Replicas share a machine's cores: none may bind itself to them, or count on all.
        environment |= {"VLLM_CPU_OMP_THREADS_BIND": "nobind", "OMP_NUM_THREADS": str(max(1, int(wanted.cpus)))}
        environment["VLLM_CPU_NUM_OF_RESERVED_CPU"] = "0"
    kinds = {"CPU": wanted.cpus} if plan.on_cpu else {"CPU": wanted.cpus / wanted.gpus, "GPU": 1}
    return LLMConfig(
        model_loading_config=ModelLoadingConfig(model_id=BASE_NAME, model_source=plan.base.location),
        engine_kwargs=_engine_arguments(settings, plan)
        | ({"tensor_parallel_size": wanted.gpus} if wanted.gpus else {}),
        lora_config=LoraConfig(max_num_adapters_per_replica=wanted.adapters or 2 * plan.slots),
        accelerator_config={"kind": "cpu" if plan.on_cpu else "gpu"},
        placement_group_config={"bundles": [kinds] * max(1, wanted.gpus)},
        deployment_config={
            "max_ongoing_requests": wanted.max_ongoing_requests,
            "autoscaling_config": {
                "min_replicas": wanted.min_replicas,
                "initial_replicas": wanted.min_replicas,
                "max_replicas": max(wanted.min_replicas, wanted.max_replicas),
                "target_ongoing_requests": wanted.target_ongoing_requests,
                "upscale_delay_s": wanted.upscale_delay_s,
                "downscale_delay_s": wanted.downscale_delay_s,
            },
            "health_check_period_s": 2,
            "health_check_timeout_s": 30,
            "graceful_shutdown_timeout_s": settings.drain_timeout,
            "ray_actor_options": {"num_cpus": 0},
        },
        runtime_env={"env_vars": environment},
        callback_config=CallbackConfig(BaseIsHere) if plan.base.local else CallbackConfig(),
        log_engine_metrics=False,
        experimental_configs={"stream_batching_interval_ms": 10},
    )


def _engine_arguments(settings: Settings, plan: EnginePlan) -> dict[str, Any]:
    """As `serve.engine.engine_command`, in vLLM's Python names."""
    arguments: dict[str, Any] = {
        "enable_lora": True,
        "max_loras": plan.slots,
        "max_cpu_loras": 2 * plan.slots,
        "max_lora_rank": plan.max_rank,
        "gpu_memory_utilization": plan.memory_share,
        "fingerprint_mode": "none",
        "enable_auto_tool_choice": True,
        "tool_call_parser": plan.tool_call_parser,
    }
    if plan.max_model_len:
        arguments["max_model_len"] = plan.max_model_len
    if plan.base.embedded:
        arguments["dtype"] = "float32"
    if not plan.base.local and (commit := base_revision(plan.base)):
        arguments |= {"revision": commit, "tokenizer_revision": commit}
    return arguments


def _environment() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if PASSED_ON.match(name) and not KEPT.search(name)}


def _checked(name: str) -> str:
    if not SERVED_NAME.fullmatch(name):
        raise HTTPException(400, f"{name!r:.100} names no adapter; they are called persona@revision")
    return name
