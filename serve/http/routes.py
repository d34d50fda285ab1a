"""The gateway's own routes: health and readiness for all, models for callers, figures and changes for the admin."""

from typing import Annotated, Any, Literal

import aiohttp
from fastapi import APIRouter, Depends, FastAPI, Path, Request
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, ConfigDict, Field
from starlette.exceptions import HTTPException as StarletteHTTPException
from starlette.responses import JSONResponse, PlainTextResponse, Response

from serve.engine.evaluation import EvaluationRequest, Operation
from serve.engine.vllm import BASE_NAME
from serve.http.auth import NotAdmittedError
from serve.http.errors import error_body, error_response
from serve.learning import LearningStatus
from serve.rollout.publisher import Published
from serve.state import Gateway
from understudy.config.recipe import NAME
from understudy.errors import EngineError, NotFoundError, PublishError
from understudy.registry.adapters import short

PUBLISH_AGAIN = 5
"""Seconds after which an admin may ask again while the engine is down."""


class PublishRequest(BaseModel):
    """Body of /admin/publish, /admin/rollback and /admin/promote."""

    model_config = ConfigDict(extra="forbid")

    persona: str
    revision: str = Field(default="", pattern="^[0-9a-f]{0,64}$")
    """A revision or the start of one; empty means the newest (publish) or the previous (rollback)."""
    share: float = Field(default=1.0, gt=0, le=1)
    """Of the users, 0 to 1; below 1 the revision goes on trial (publish only)."""
    actor: str = Field(default="admin", max_length=63)
    when: Literal["now", "better"] = "now"
    """better: not now, and not for want of evidence against it, but when asked again (promote only)."""
    reason: str = Field(default="asked for", max_length=200)
    """What the history says about it (promote only)."""


def gateway_of(request: Request) -> Gateway:
    """The gateway that this application runs."""
    return request.app.state.gateway


GatewayOf = Annotated[Gateway, Depends(gateway_of)]


async def _require_caller(request: Request, gateway: GatewayOf) -> None:
    address = request.client.host if request.client else ""
    await gateway.admission.caller(request.headers.get("authorization", ""), address)


def _require(kind: Literal["admin", "metrics"]) -> Any:
    async def check(request: Request, gateway: GatewayOf) -> None:
        await gateway.admission.require(kind, request.headers.get("authorization", ""))

    return Depends(check)


def open_routes() -> APIRouter:
    """Routes that need no key."""
    router = APIRouter()

    @router.get("/health")
    async def health() -> dict[str, str]:
        """The gateway runs; it says nothing about the engine."""
        return {"status": "ok"}

    @router.get("/ready")
    async def ready(gateway: GatewayOf) -> JSONResponse:
        """200 when the engine answers and as many personas are on stage as there are slots for, else 503."""
        status = gateway.supervisor.status
        return JSONResponse(status.model_dump(), 200 if status.status == "ready" else 503)

    return router


def caller_routes() -> APIRouter:
    """Routes for whoever may ask for answers."""
    router = APIRouter(dependencies=[Depends(_require_caller)])

    @router.get("/v1/models")
    async def models(gateway: GatewayOf) -> dict[str, Any]:
        """The base and the live personas, in OpenAI's form; `learning` lists personas that are not live yet."""
        learning = gateway.learning.listed(gateway.table.shown())
        return {"object": "list", "data": gateway.models(), "learning": learning}

    @router.get("/v1/models/{name}")
    async def model(name: str, gateway: GatewayOf) -> dict[str, Any]:
        """One of them."""
        return gateway.model(name)

    @router.get("/events")
    async def events(request: Request, gateway: GatewayOf) -> Response:
        """Server-sent events: which revision went live, on trial, or back, and how the engine is."""
        return gateway.news.stream(request)

    return router


def figure_routes() -> APIRouter:
    """Routes for monitoring."""
    router = APIRouter(dependencies=[_require("metrics")])

    @router.get("/metrics", response_class=PlainTextResponse)
    async def metrics(gateway: GatewayOf) -> Response:
        """Ours, for Prometheus."""
        body, content_type = gateway.metrics.render()
        return Response(body, media_type=content_type)

    @router.get("/metrics/engine", response_class=PlainTextResponse)
    async def engine_metrics(gateway: GatewayOf) -> Response:
        """vLLM's own, for Prometheus."""
        try:
            timeout = aiohttp.ClientTimeout(total=5)
            async with gateway.session.get(f"{gateway.engine.url}/metrics", timeout=timeout) as response:
                return Response(await response.read(), response.status, media_type=response.headers["content-type"])
        except (aiohttp.ClientError, TimeoutError) as error:
            raise EngineError("vLLM does not answer /metrics") from error

    return router


def admin_routes() -> APIRouter:
    """Routes that change what people get."""
    router = APIRouter(prefix="/admin", dependencies=[_require("admin")])

    @router.post("/publish")
    async def publish(body: PublishRequest, gateway: GatewayOf) -> Published:
        """Puts a registered revision on stage without a pause, or on trial with a share of the users."""
        _require_ready(gateway)
        return await gateway.publisher.publish(body.persona, body.revision, actor=body.actor, share=body.share)

    @router.post("/rollback")
    async def rollback(body: PublishRequest, gateway: GatewayOf) -> Published:
        """Withdraws a trial, or puts an earlier revision back on stage."""
        _require_ready(gateway)
        return await gateway.publisher.rollback(body.persona, body.revision, actor=body.actor)

    @router.post("/promote")
    async def promote(body: PublishRequest, gateway: GatewayOf) -> Published:
        """Makes the revision on trial live, or lets only proof that it is better do so."""
        _require_ready(gateway)
        if body.when == "better":
            return gateway.publisher.hold(body.persona)
        return await gateway.publisher.promote(body.persona, actor=body.actor, reason=body.reason)

    @router.put("/learning/{persona}")
    async def learning(
        persona: Annotated[str, Path(pattern=NAME)], body: LearningStatus, gateway: GatewayOf
    ) -> LearningStatus:
        """Tells people how a persona that is not live yet gets on. Forgotten when it is live, and at a restart."""
        if persona == BASE_NAME:
            raise StarletteHTTPException(400, f"{BASE_NAME!r} is the base, not a persona")
        if gateway.learning.put(persona, body):
            gateway.news.announce("learning", persona, text=body.text, title=body.title)
        return body

    @router.post("/evaluation")
    async def evaluation(body: EvaluationRequest, gateway: GatewayOf) -> dict[str, str]:
        """Loads a registered revision to be evaluated; `model` is the name under which it is asked."""
        _require_ready(gateway)
        return {"model": await gateway.evaluations.load(body)}

    @router.delete("/evaluation")
    async def end_evaluation(gateway: GatewayOf) -> dict[str, str]:
        """Unloads it again."""
        await gateway.evaluations.unload()
        return {"status": "ended"}

    @router.post("/evaluation/{operation}")
    async def ask(operation: Operation, body: dict[str, Any], gateway: GatewayOf) -> dict[str, Any]:
        """Asks the base or the revision that is evaluated, when the engine serves nobody else."""
        _require_ready(gateway)
        return await gateway.evaluations.ask(operation, body)

    @router.get("/status")
    async def status(gateway: GatewayOf) -> dict[str, Any]:
        """What the engine has loaded, who is on trial, what follows which repository, and what goes on right now."""
        table = gateway.table
        return {
            "engine": gateway.supervisor.status.model_dump() | {"restarts": gateway.supervisor.restarts},
            "slots": {"capacity": gateway.slots.capacity, "waiting": gateway.slots.waiting},
            "in_progress": gateway.admission.in_progress,
            "loaded": {name: loaded.in_flight for name, loaded in sorted(table.loaded.items())},
            "live": {name: short(loaded.revision.id) for name, loaded in sorted(table.live.items())},
            "resting": {name: short(revision.id) for name, revision in sorted(table.unloaded.items())},
            "trials": {
                name: {"revision": short(trial.loaded.revision.id), **trial.figures()}
                for name, trial in sorted(table.trials.items())
            },
            "following": gateway.watcher.status(),
            "on_demand": gateway.guests.status() if gateway.guests else None,
        }

    return router


def shape_errors(app: FastAPI) -> None:
    """Every error leaves in OpenAI's shape."""

    @app.exception_handler(StarletteHTTPException)
    async def _(request: Request, error: StarletteHTTPException) -> JSONResponse:
        message = f"{request.url.path} does not exist here" if error.status_code == 404 else str(error.detail)
        return error_response(error.status_code, message)

    @app.exception_handler(RequestValidationError)
    async def _(request: Request, error: RequestValidationError) -> JSONResponse:
        first = error.errors()[0]
        param = ".".join(str(part) for part in first["loc"][1:])
        return error_response(400, f"{param or 'body'}: {first['msg']}", param=param or None)

    @app.exception_handler(NotAdmittedError)
    async def _(request: Request, error: NotAdmittedError) -> JSONResponse:
        return error.response

    @app.exception_handler(NotFoundError)
    async def _(request: Request, error: NotFoundError) -> JSONResponse:
        return error_response(404, str(error), code="not_found")

    @app.exception_handler(PublishError)
    async def _(request: Request, error: PublishError) -> JSONResponse:
        body = error_body(409, str(error), code="refused")
        body["error"]["reasons"] = error.reasons
        return JSONResponse(body, 409)

    @app.exception_handler(EngineError)
    async def _(request: Request, error: EngineError) -> JSONResponse:
        return error_response(503, str(error), code="engine_down", retry_after=PUBLISH_AGAIN)


def _require_ready(gateway: Gateway) -> None:
    status = gateway.supervisor.status
    if status.status != "ready":
        raise EngineError(status.detail)
