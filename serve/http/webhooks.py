"""The Hub's webhook, which asks for a poll of one repository. Nothing else in it is believed; the Hub itself is asked.

https://huggingface.co/docs/hub/webhooks: the secret comes in a header, and a delivery may come twice, late, or in
another order. All that it can cause is one more poll of a repository that is followed.
"""

import hmac
from typing import Any

from fastapi import APIRouter, Request
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse, Response

from serve.http.errors import HttpRefusalError
from serve.http.request import read_object
from serve.state import Gateway

MAX_BODY = 256 * 1024
"""Bytes; the Hub's own are a few thousand."""

SECRET = "x-webhook-secret"


def webhook_routes() -> APIRouter:
    """The webhook's route."""
    router = APIRouter()

    @router.post("/hooks/hub", status_code=202, responses={202: {"description": "The repository is polled soon."}})
    async def hub(request: Request) -> Response:
        """The Hub reports that a repository changed (header X-Webhook-Secret)."""
        gateway: Gateway = request.app.state.gateway
        known = gateway.settings.webhook_secret
        if known is None or not known.get_secret_value():
            raise HTTPException(404)
        given = request.headers.get(SECRET, "")
        if not hmac.compare_digest(given.encode("utf-8", "replace"), known.get_secret_value().encode()):
            gateway.metrics.webhook("refused")
            raise HttpRefusalError(401, "missing or wrong webhook secret", code="invalid_webhook_secret")
        try:
            repo = _repo(await read_object(request, max_bytes=MAX_BODY))
        except HttpRefusalError:
            gateway.metrics.webhook("refused")
            raise
        accepted = gateway.watcher.request_poll(repo)
        gateway.metrics.webhook("accepted" if accepted else "unknown")
        return JSONResponse({"status": "accepted" if accepted else "ignored"}, 202)

    return router


def _repo(payload: dict[str, Any]) -> str:
    """The model repository that the webhook is about; empty for another kind of repository, which nothing follows."""
    repo = payload.get("repo")
    if not isinstance(repo, dict) or not isinstance(repo.get("name"), str):
        raise HttpRefusalError(400, "the body has no repo.name; this route is for webhooks of the Hub", param="repo")
    return repo["name"] if repo.get("type") == "model" else ""
