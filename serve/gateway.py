"""The only door: OpenAI's routes for everybody, admin routes for whoever has the admin key, nothing else of vLLM."""

import asyncio
import contextlib
import hmac
import logging
from collections.abc import AsyncIterator
from typing import Annotated, Any

import aiohttp
from fastapi import APIRouter, Depends, FastAPI, HTTPException, Request
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, ConfigDict, Field
from starlette.exceptions import HTTPException as StarletteHTTPException
from starlette.responses import JSONResponse
from starlette.routing import Route

from serve.engine import BASE_NAME, Engine, plan_engine
from serve.openai_errors import error_body, error_response
from serve.proxy import Proxy
from serve.publish import Published, Publisher
from serve.routing import RoutingTable
from serve.supervisor import Supervisor
from understudy.adapters import short
from understudy.bases import resolve_base
from understudy.errors import EngineError, NotFoundError, PublishError
from understudy.registry import open_registry
from understudy.settings import Settings

log = logging.getLogger("understudy.gateway")

PASSED_ROUTES = ("/v1/chat/completions", "/v1/completions", "/v1/responses")
"""What of vLLM can be reached from outside. The rest of its routes cannot."""

UPSTREAM_TIMEOUT = aiohttp.ClientTimeout(total=None, sock_connect=5, sock_read=300)


KEEP_ALIVE = 2.0
"""Seconds that an idle connection to the engine is used again. vLLM's server closes it after 5; a request that
takes a connection in that moment would be lost."""


class PublishRequest(BaseModel):
    """Body of /admin/publish and /admin/rollback."""

    model_config = ConfigDict(extra="forbid")

    persona: str
    revision: str = Field(default="", pattern="^[0-9a-f]{0,64}$")
    """A revision or the start of one; empty means the newest (publish) or the previous (rollback)."""
    actor: str = Field(default="admin", max_length=63)


class Gateway:
    """Everything that the routes need; made when the application starts."""

    def __init__(self, settings: Settings, session: aiohttp.ClientSession) -> None:
        self.settings = settings
        self.table = RoutingTable()
        registry = open_registry(settings)
        plan = plan_engine(settings, resolve_base(settings.base), len(registry.personas()))
        self.engine = Engine(plan, settings.logs_dir / "engine.log")
        self.publisher = Publisher(registry, self.table, self.engine, session, settings.drain_timeout)
        self.supervisor = Supervisor(self.engine, self.publisher, session, settings.start_timeout)

    def models(self) -> list[dict[str, Any]]:
        """What /v1/models lists: the base and every live persona, with what people are told about them."""
        base = {
            "kind": "base",
            "title": "Base",
            "voice": "The base model, without any adapter.",
            "revision": "",
        }
        entries = [_model(BASE_NAME, 0, base | {"base": self.engine.plan.base.name, "prompts": [], "sampling": {}})]
        for name, loaded in sorted(self.table.live.items()):
            card = {
                "title": name,
                "voice": "",
                "prompts": [],
                "sampling": {},
                **self.table.cards.get(name, {}),
            }
            about = {"kind": "persona", "revision": short(loaded.revision.id), **card}
            entries.append(_model(name, int(loaded.revision.created_at.timestamp()), about))
        return entries


def _model(name: str, created: int, about: dict[str, Any]) -> dict[str, Any]:
    return {"id": name, "object": "model", "created": created, "owned_by": "understudy", "understudy": about}


def build_gateway(settings: Settings) -> FastAPI:
    """The ASGI application; the engine starts and ends with it."""

    @contextlib.asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        connector = aiohttp.TCPConnector(limit=0, keepalive_timeout=KEEP_ALIVE)
        async with aiohttp.ClientSession(
            timeout=UPSTREAM_TIMEOUT, connector=connector, auto_decompress=False
        ) as session:
            gateway = app.state.gateway = Gateway(settings, session)
            app.router.routes.extend(_passed_routes(gateway, session))
            running = asyncio.create_task(gateway.supervisor.run())
            try:
                yield
            finally:
                await gateway.publisher.close()
                running.cancel()
                with contextlib.suppress(asyncio.CancelledError):
                    await running

    app = FastAPI(title="Understudy gateway", lifespan=lifespan, docs_url=None, redoc_url=None)
    app.include_router(_open_routes())
    app.include_router(_inference_routes())
    app.include_router(_admin_routes())
    _shape_errors(app)
    return app


def _passed_routes(gateway: Gateway, session: aiohttp.ClientSession) -> list[Route]:
    options = {
        "engine": gateway.engine,
        "table": gateway.table,
        "session": session,
        "status": lambda: gateway.supervisor.status,
        "authorized": lambda request: _has_api_key(request, gateway.settings),
        "max_body": gateway.settings.max_body_bytes,
    }
    return [Route(path, Proxy(path, **options)) for path in PASSED_ROUTES]


def _gateway(request: Request) -> Gateway:
    return request.app.state.gateway


GatewayOf = Annotated[Gateway, Depends(_gateway)]


def _open_routes() -> APIRouter:
    router = APIRouter()

    @router.get("/health")
    async def health() -> dict[str, str]:
        """The gateway runs; it says nothing about the engine."""
        return {"status": "ok"}

    @router.get("/ready")
    async def ready(gateway: GatewayOf) -> JSONResponse:
        """200 when the engine answers and every persona has been put on stage, else 503."""
        status = gateway.supervisor.status
        return JSONResponse(status.model_dump(), 200 if status.status == "ready" else 503)

    return router


def _inference_routes() -> APIRouter:
    router = APIRouter(prefix="/v1", dependencies=[Depends(_require_api_key)])

    @router.get("/models")
    async def models(gateway: GatewayOf) -> dict[str, Any]:
        """The base and the live personas, in OpenAI's form."""
        return {"object": "list", "data": gateway.models()}

    @router.get("/models/{name}")
    async def model(name: str, gateway: GatewayOf) -> dict[str, Any]:
        """One of them."""
        found = [m for m in gateway.models() if m["id"] == name]
        if not found:
            raise NotFoundError(f"model {name!r} does not exist")
        return found[0]

    return router


def _admin_routes() -> APIRouter:
    router = APIRouter(prefix="/admin", dependencies=[Depends(_require_admin_key)])

    @router.post("/publish")
    async def publish(body: PublishRequest, gateway: GatewayOf) -> Published:
        """Puts a registered revision on stage without a pause."""
        _require_ready(gateway)
        return await gateway.publisher.publish(body.persona, body.revision, actor=body.actor)

    @router.post("/rollback")
    async def rollback(body: PublishRequest, gateway: GatewayOf) -> Published:
        """Puts an earlier revision back on stage."""
        _require_ready(gateway)
        return await gateway.publisher.rollback(body.persona, body.revision, actor=body.actor)

    return router


def _require_ready(gateway: Gateway) -> None:
    status = gateway.supervisor.status
    if status.status != "ready":
        raise EngineError(status.detail)


def _bearer(request: Request) -> str:
    scheme, _, key = request.headers.get("authorization", "").partition(" ")
    return key.strip() if scheme.lower() == "bearer" else ""


def _matches(key: str, secret: str) -> bool:
    return hmac.compare_digest(key.encode(), secret.encode())


def _has_api_key(request: Request, settings: Settings) -> bool:
    return settings.api_key is None or _matches(_bearer(request), settings.api_key.get_secret_value())


def _require_api_key(request: Request, gateway: GatewayOf) -> None:
    if not _has_api_key(request, gateway.settings):
        raise HTTPException(401, "missing or wrong API key; send it as 'Authorization: Bearer KEY'")


def _require_admin_key(request: Request, gateway: GatewayOf) -> None:
    if not _matches(_bearer(request), gateway.settings.admin_secret):
        raise HTTPException(401, "missing or wrong admin key; send it as 'Authorization: Bearer KEY'")


def _shape_errors(app: FastAPI) -> None:
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
        return error_response(503, str(error), code="engine_down", retry_after=5)
