"""Builds and runs the gateway: OpenAI's routes and its own, and nothing else of vLLM. `understudy serve`."""

import asyncio
import contextlib
import sys
from collections.abc import AsyncIterator

import uvicorn
from fastapi import FastAPI
from starlette.middleware.cors import CORSMiddleware
from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from serve.engine.servable import check_servable
from serve.engine.vllm import engine_session, vllm_on_cpu
from serve.http.openapi import PASSED, describe
from serve.http.proxy import REVISION_HEADER, Proxy, ProxyContext
from serve.http.routes import admin_routes, caller_routes, figure_routes, open_routes, shape_errors
from serve.http.webhooks import webhook_routes
from serve.logs import REQUEST_ID, configure_logs, new_request_id
from serve.state import Gateway
from understudy import __version__
from understudy.bases import require_base
from understudy.config.settings import Settings
from understudy.processes import require_port
from understudy.statistics.sequential import VoteSource

REQUEST_ID_HEADER = b"x-request-id"


def serve(settings: Settings, votes: VoteSource | None = None) -> None:
    """Runs the gateway and its engine until SIGINT or SIGTERM; returns after the last answer and the engine's end.

    Raises:
        ConfigError: the gateway's port is taken.
        BaseModelError: the base cannot be found, or vLLM cannot serve it with adapters.
        EngineError: vLLM is not installed.
    """
    require_port(settings.host, settings.port, "--port (or UNDERSTUDY_PORT)")
    base = require_base(settings.base)
    if not settings.engine_url:
        check_servable(base, settings.bases_dir, on_cpu=vllm_on_cpu())
    configure_logs(not sys.stderr.isatty() if settings.log_json is None else settings.log_json)
    uvicorn.run(
        build_gateway(settings, votes),
        host=settings.host,
        port=settings.port,
        log_config=None,
        server_header=False,
        access_log=False,
        timeout_graceful_shutdown=settings.shutdown_timeout,
    )


def build_gateway(settings: Settings, votes: VoteSource | None = None) -> FastAPI:
    """Builds the ASGI application; the engine starts and ends with it. `votes` may decide trials, too."""

    @contextlib.asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        async with engine_session() as session:
            gateway = app.state.gateway = Gateway(settings, session, votes)
            app.router.routes.extend(_passed_routes(gateway))
            background = [asyncio.create_task(part.run()) for part in (gateway.supervisor, gateway.watcher)]
            background.append(asyncio.create_task(gateway.note_use()))
            if votes is not None:
                background.append(asyncio.create_task(gateway.publisher.count_votes(votes)))
            try:
                yield
            finally:
                gateway.events.close()
                if gateway.on_demand is not None:
                    await gateway.on_demand.close()
                await gateway.lazy_loader.close()
                await gateway.publisher.close()
                await asyncio.to_thread(gateway.write_use)
                for task in background:
                    task.cancel()
                await asyncio.gather(*background, return_exceptions=True)

    app = FastAPI(title="Understudy gateway", version=__version__, lifespan=lifespan, docs_url=None, redoc_url=None)
    for router in (open_routes(), caller_routes(), figure_routes(), admin_routes(), webhook_routes()):
        app.include_router(router)
    shape_errors(app)
    describe(app)
    app.add_middleware(RequestIds)
    if settings.cors_origins:
        app.add_middleware(
            CORSMiddleware,
            allow_origins=_origins(settings.cors_origins),
            allow_methods=["GET", "POST"],
            allow_headers=["authorization", "content-type", "x-request-id"],
            expose_headers=[REVISION_HEADER, "x-request-id"],
        )
    return app


def _passed_routes(gateway: Gateway) -> list[Route]:
    """The routes that reach vLLM; no other route of it can be reached from outside."""
    context = ProxyContext(
        engine=gateway.engine,
        table=gateway.table,
        scheduler=gateway.scheduler,
        session=gateway.session,
        authenticator=gateway.authenticator,
        metrics=gateway.metrics,
        status=lambda: gateway.supervisor.status,
        answered=gateway.publisher.answered,
        max_body=gateway.settings.max_body_bytes,
        ensure_loaded=gateway.ensure_loaded,
        traffic=gateway.traffic,
        chat_template=gateway.chat_template,
    )
    return [Route(path, Proxy(path, context)) for path in PASSED]


class RequestIds:
    """Middleware: gives each request an id for logs (the client's, if it is valid) and puts it on the answer."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return await self._app(scope, receive, send)
        wanted = next((value for name, value in scope["headers"] if name == REQUEST_ID_HEADER), b"")
        request_id = new_request_id(wanted.decode("latin-1"))
        token = REQUEST_ID.set(request_id)

        async def send_with_id(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message.get("headers", []), (REQUEST_ID_HEADER, request_id.encode())]
            await send(message)

        try:
            await self._app(scope, receive, send_with_id)
        finally:
            REQUEST_ID.reset(token)


def _origins(setting: str) -> list[str]:
    """Reads the origins that UNDERSTUDY_CORS_ORIGINS names."""
    return [origin.strip().rstrip("/") for origin in setting.split(",") if origin.strip()]
