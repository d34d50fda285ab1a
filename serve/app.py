"""The only door: OpenAI's routes for everybody, admin routes for whoever has an admin key, nothing else of vLLM."""

import asyncio
import contextlib
from collections.abc import AsyncIterator

from fastapi import FastAPI
from starlette.middleware.cors import CORSMiddleware
from starlette.routing import Route

from serve.engine.vllm import engine_session
from serve.http.middleware import RequestIds, origins
from serve.http.openapi import PASSED, describe
from serve.http.proxy import REVISION_HEADER, Proxy, ProxyContext
from serve.http.routes import admin_routes, caller_routes, figure_routes, open_routes, shape_errors
from serve.http.webhooks import hook_routes
from serve.state import Gateway
from understudy import __version__
from understudy.config.settings import Settings
from understudy.statistics.sequential import VoteSource


def build_gateway(settings: Settings, votes: VoteSource | None = None) -> FastAPI:
    """The ASGI application; the engine starts and ends with it. `votes` may decide trials, too."""

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
                gateway.news.close()
                if gateway.guests is not None:
                    await gateway.guests.close()
                await gateway.entrances.close()
                await gateway.publisher.close()
                await asyncio.to_thread(gateway.write_use)
                for task in background:
                    task.cancel()
                await asyncio.gather(*background, return_exceptions=True)

    app = FastAPI(title="Understudy gateway", version=__version__, lifespan=lifespan, docs_url=None, redoc_url=None)
    for router in (open_routes(), caller_routes(), figure_routes(), admin_routes(), hook_routes()):
        app.include_router(router)
    shape_errors(app)
    describe(app)
    app.add_middleware(RequestIds)
    if settings.cors_origins:
        app.add_middleware(
            CORSMiddleware,
            allow_origins=origins(settings.cors_origins),
            allow_methods=["GET", "POST"],
            allow_headers=["authorization", "content-type", "x-request-id"],
            expose_headers=[REVISION_HEADER, "x-request-id"],
        )
    return app


def _passed_routes(gateway: Gateway) -> list[Route]:
    desk = ProxyContext(
        engine=gateway.engine,
        table=gateway.table,
        slots=gateway.slots,
        session=gateway.session,
        admission=gateway.admission,
        metrics=gateway.metrics,
        status=lambda: gateway.supervisor.status,
        answered=gateway.publisher.answered,
        max_body=gateway.settings.max_body_bytes,
        traffic=gateway.traffic,
        ensure_loaded=gateway.ensure_loaded,
    )
    return [Route(path, Proxy(path, desk)) for path in PASSED]  # nothing else of vLLM can be reached from outside
