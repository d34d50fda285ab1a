"""What a ZeroGPU Space answers besides its page: the Hub's webhook and `understudy rollback`, each with its secret."""

from collections.abc import Awaitable, Callable

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from serve.http.errors import HttpRefusalError, refusal_of
from serve.http.hub_webhook import MAX_BODY, same_secret, webhook_repo
from serve.http.request import read_object
from space.backends.zerogpu import ZeroGpuBackend
from understudy.config.settings import Settings
from understudy.errors import EngineError, NotFoundError, PublishError


def hub_routes(backend: ZeroGpuBackend, settings: Settings) -> list[Route]:
    """The routes whose secrets are set."""

    async def hook(request: Request) -> Response:
        accepted = backend.watcher.request_poll(await webhook_repo(request, settings.webhook_secret))
        return JSONResponse({"status": "accepted" if accepted else "ignored"}, 202)

    async def rollback(request: Request) -> Response:
        if not same_secret(request.headers.get("authorization", "").removeprefix("Bearer "), settings.admin_key):
            raise HttpRefusalError(401, "missing or wrong admin key")
        body = await read_object(request, max_bytes=MAX_BODY)
        persona, revision, actor = (str(body.get(name) or "")[:64] for name in ("persona", "revision", "actor"))
        return JSONResponse((await backend.publisher.rollback(persona, revision, actor=actor)).model_dump())

    routes = [Route("/hooks/hub", _explained(hook), methods=["POST"])] if settings.webhook_secret else []
    return routes + ([Route("/admin/rollback", _explained(rollback), methods=["POST"])] if settings.admin_key else [])


def _explained(route: Callable[[Request], Awaitable[Response]]) -> Callable[[Request], Awaitable[Response]]:
    """Errors in the gateway's shape."""

    async def answer(request: Request) -> Response:
        try:
            return await route(request)
        except HttpRefusalError as error:
            return error.response
        except (NotFoundError, PublishError, EngineError) as error:
            return refusal_of(error).response

    return answer
