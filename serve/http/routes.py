"""The gateway's own routes: health for all, models for callers, metrics for monitoring, changes for the admin."""

from typing import Annotated, Any, Literal

import aiohttp
from fastapi import APIRouter, Depends, FastAPI, Path, Request
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, ConfigDict, Field
from starlette.exceptions import HTTPException as StarletteHTTPException
from starlette.responses import JSONResponse, PlainTextResponse, Response

from serve.engine.adapter_engine import BASE_NAME
from serve.engine.evaluation import EvaluationRequest, Operation
from serve.http.errors import HttpRefusalError, engine_not_ready, error_response, refusal_of
from serve.learning import LearningStatus
from serve.rollout.publisher import Published
from serve.state import Gateway
from understudy.config.recipe import NAME
from understudy.errors import EngineError, NotFoundError, PublishError
from understudy.registry.adapters import short


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
    """better: the trial is no longer promoted for lack of evidence against it, but by a later call (promote only)."""
    reason: str = Field(default="asked for", max_length=200)
    """Recorded in the history (promote only)."""


def gateway_of(request: Request) -> Gateway:
    """The gateway that this application runs."""
    return request.app.state.gateway


GatewayOf = Annotated[Gateway, Depends(gateway_of)]


async def _require_caller(request: Request, gateway: GatewayOf) -> None:
    address = request.client.host if request.client else ""
    await gateway.authenticator.caller(request.headers.get("authorization", ""), address)


def _require(kind: Literal["admin", "metrics"]) -> Any:
    async def check(request: Request, gateway: GatewayOf) -> None:
        await gateway.authenticator.require(kind, request.headers.get("authorization", ""))

    return Depends(check)


def open_routes() -> APIRouter:
    """Routes that need no key."""
    router = APIRouter()

    @router.get("/health")
    async def health() -> dict[str, str]:
        """200 while the gateway runs; says nothing about the engine."""
        return {"status": "ok"}

    @router.get("/ready")
    async def ready(gateway: GatewayOf) -> JSONResponse:
        """200 when the engine answers and as many personas are loaded as there are slots for, else 503."""
        status = gateway.supervisor.status
        return JSONResponse(status.model_dump(), 200 if status.status == "ready" else 503)

    return router


def caller_routes() -> APIRouter:
    """Routes for callers who may ask for answers."""
    router = APIRouter(dependencies=[Depends(_require_caller)])

    @router.get("/v1/models")
    async def models(gateway: GatewayOf) -> dict[str, Any]:
        """The base and the live personas, in OpenAI's form; `learning` lists personas that are not live yet."""
        learning = gateway.learning.listed(gateway.table.shown())
        return {"object": "list", "data": gateway.models(), "learning": learning}

    @router.get("/v1/models/{name}")
    async def model(name: str, gateway: GatewayOf) -> dict[str, Any]:
        """One entry of /v1/models."""
        return gateway.model(name)

    @router.get("/events")
    async def events(request: Request, gateway: GatewayOf) -> Response:
        """Server-sent events: which revision went live, on trial, or back, and how the engine is."""
        return gateway.events.stream(request)

    return router


def figure_routes() -> APIRouter:
    """Routes for monitoring."""
    router = APIRouter(dependencies=[_require("metrics")])

    @router.get("/metrics", response_class=PlainTextResponse)
    async def metrics(gateway: GatewayOf) -> Response:
        """The gateway's metrics, for Prometheus."""
        body, content_type = gateway.metrics.render()
        return Response(body, media_type=content_type)

    @router.get("/metrics/engine", response_class=PlainTextResponse)
    async def engine_metrics(gateway: GatewayOf) -> Response:
        """vLLM's own metrics, for Prometheus."""
        try:
            timeout = aiohttp.ClientTimeout(total=5)
            async with gateway.session.get(f"{gateway.engine.url}/metrics", timeout=timeout) as response:
                return Response(await response.read(), response.status, media_type=response.headers["content-type"])
        except (aiohttp.ClientError, TimeoutError) as error:
            raise engine_not_ready("vLLM does not answer /metrics") from error

    return router


def admin_routes() -> APIRouter:
    """Routes that change what callers get."""
    router = APIRouter(prefix="/admin", dependencies=[_require("admin")])

    @router.post("/publish")
    async def publish(body: PublishRequest, gateway: GatewayOf) -> Published:
        """Makes a registered revision live without a pause, or puts it on trial with a share of the users."""
        _require_ready(gateway)
        return await gateway.publisher.publish(body.persona, body.revision, actor=body.actor, share=body.share)

    @router.post("/rollback")
    async def rollback(body: PublishRequest, gateway: GatewayOf) -> Published:
        """Withdraws a trial, or makes an earlier revision live again."""
        _require_ready(gateway)
        return await gateway.publisher.rollback(body.persona, body.revision, actor=body.actor)

    @router.post("/promote")
    async def promote(body: PublishRequest, gateway: GatewayOf) -> Published:
        """Makes the revision on trial live; with `when: better`, only later, when it is proved to be better."""
        _require_ready(gateway)
        if body.when == "better":
            return gateway.publisher.hold(body.persona)
        return await gateway.publisher.promote(body.persona, actor=body.actor, reason=body.reason)

    @router.put("/learning/{persona}")
    async def learning(
        persona: Annotated[str, Path(pattern=NAME)], body: LearningStatus, gateway: GatewayOf
    ) -> LearningStatus:
        """Announces the progress of a persona that is not live yet; forgotten when it is live, and at a restart."""
        if persona == BASE_NAME:
            raise HttpRefusalError(400, f"{BASE_NAME!r} is the base, not a persona", param="persona")
        if gateway.learning.put(persona, body):
            gateway.events.announce("learning", persona, text=body.text, title=body.title)
        return body

    @router.post("/evaluation")
    async def evaluation(body: EvaluationRequest, gateway: GatewayOf) -> dict[str, str]:
        """Loads a registered revision to be evaluated; `model` is its name in requests."""
        _require_ready(gateway)
        return {"model": await gateway.evaluations.load(body)}

    @router.delete("/evaluation")
    async def end_evaluation(gateway: GatewayOf) -> dict[str, str]:
        """Unloads the revision that is evaluated."""
        await gateway.evaluations.unload()
        return {"status": "ended"}

    @router.post("/evaluation/{operation}")
    async def ask(operation: Operation, body: dict[str, Any], gateway: GatewayOf) -> dict[str, Any]:
        """Asks the base or the revision that is evaluated, while the engine serves no other request."""
        _require_ready(gateway)
        return await gateway.evaluations.ask(operation, body)

    @router.get("/status")
    async def status(gateway: GatewayOf) -> dict[str, Any]:
        """What the engine has loaded, which revisions are on trial, which repositories are followed, and the load."""
        table = gateway.table
        unloaded = {name: short(revision.id) for name, revision in sorted(table.unloaded.items())}
        return {
            "engine": gateway.supervisor.status.model_dump() | {"restarts": gateway.supervisor.restarts},
            "slots": {"capacity": gateway.scheduler.capacity, "waiting": gateway.scheduler.waiting},
            "in_progress": gateway.authenticator.in_progress,
            "loaded": {name: loaded.in_flight for name, loaded in sorted(table.loaded.items())},
            "live": {name: short(loaded.revision.id) for name, loaded in sorted(table.live.items())},
            "unloaded": unloaded,
            "resting": unloaded,  # its older name
            "trials": {
                name: {"revision": short(trial.loaded.revision.id), **trial.figures()}
                for name, trial in sorted(table.trials.items())
            },
            "following": gateway.watcher.status(),
            "on_demand": gateway.on_demand.status() if gateway.on_demand else None,
        }

    return router


def shape_errors(app: FastAPI) -> None:
    """Sends every error in OpenAI's shape."""

    @app.exception_handler(StarletteHTTPException)
    async def _(request: Request, error: StarletteHTTPException) -> JSONResponse:
        message = f"{request.url.path} does not exist here" if error.status_code == 404 else str(error.detail)
        return error_response(error.status_code, message)

    @app.exception_handler(RequestValidationError)
    async def _(request: Request, error: RequestValidationError) -> JSONResponse:
        first = error.errors()[0]
        param = ".".join(str(part) for part in first["loc"][1:])
        return error_response(400, f"{param or 'body'}: {first['msg']}", param=param or None)

    @app.exception_handler(HttpRefusalError)
    async def _(request: Request, error: HttpRefusalError) -> JSONResponse:
        return error.response

    @app.exception_handler(NotFoundError)
    @app.exception_handler(PublishError)
    @app.exception_handler(EngineError)
    async def _(request: Request, error: NotFoundError | PublishError | EngineError) -> JSONResponse:
        return refusal_of(error).response


def _require_ready(gateway: Gateway) -> None:
    status = gateway.supervisor.status
    if not status.answers:
        raise engine_not_ready(status.detail, f"engine_{status.status}")
