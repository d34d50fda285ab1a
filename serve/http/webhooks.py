"""The gateway's route for the Hub's webhook."""

from fastapi import APIRouter, Request
from starlette.responses import JSONResponse, Response

from serve.http.errors import HttpRefusalError
from serve.http.hub_webhook import webhook_repo
from serve.state import Gateway


def webhook_routes() -> APIRouter:
    """The webhook's route."""
    router = APIRouter()

    @router.post("/hooks/hub", status_code=202, responses={202: {"description": "The repository is polled soon."}})
    async def hub(request: Request) -> Response:
        """The Hub reports that a repository changed (header X-Webhook-Secret)."""
        gateway: Gateway = request.app.state.gateway
        try:
            repo = await webhook_repo(request, gateway.settings.webhook_secret)
        except HttpRefusalError:
            gateway.metrics.webhook("refused")
            raise
        accepted = gateway.watcher.request_poll(repo)
        gateway.metrics.webhook("accepted" if accepted else "unknown")
        return JSONResponse({"status": "accepted" if accepted else "ignored"}, 202)

    return router
