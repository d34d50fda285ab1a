"""The Hub's webhook: "look at this repository now". What it says beyond that is not believed; the Hub is asked.

https://huggingface.co/docs/hub/webhooks: the secret comes in a header, and a delivery may come twice, late, or in
another order. Whatever it says, all it can do is that a followed repository is looked at once more.
"""

import hmac
from typing import Any

from fastapi import APIRouter, Request
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse, Response

from serve.http.errors import error_response
from serve.http.request import HttpRefusalError, read_object
from serve.state import Gateway

MAX_BODY = 256 * 1024
"""Bytes; the Hub's own are a few thousand."""

SECRET = "x-webhook-secret"


def hook_routes() -> APIRouter:
    """The one route."""
    router = APIRouter()

    @router.post("/hooks/hub", status_code=202, responses={202: {"description": "It is looked at soon."}})
    async def hub(request: Request) -> Response:
        """The Hub says that a repository changed (header X-Webhook-Secret)."""
        gateway: Gateway = request.app.state.gateway
        known = gateway.settings.webhook_secret
        if known is None or not known.get_secret_value():
            raise HTTPException(404)
        given = request.headers.get(SECRET, "")
        if not hmac.compare_digest(given.encode("utf-8", "replace"), known.get_secret_value().encode()):
            gateway.metrics.hook("refused")
            return error_response(401, "missing or wrong webhook secret", code="invalid_webhook_secret")
        try:
            repo = _repo(await read_object(request, max_bytes=MAX_BODY))
        except HttpRefusalError as error:
            gateway.metrics.hook("refused")
            return error.response
        accepted = gateway.watcher.request_poll(repo)
        gateway.metrics.hook("accepted" if accepted else "unknown")
        return JSONResponse({"status": "accepted" if accepted else "ignored"}, 202)

    return router


def _repo(payload: dict[str, Any]) -> str:
    """The model repository that it is about; nobody follows the empty one."""
    repo = payload.get("repo")
    if not isinstance(repo, dict) or not isinstance(repo.get("name"), str):
        raise HttpRefusalError(400, "no repo.name in it; this is for webhooks of the Hub", param="repo")
    return repo["name"] if repo.get("type") == "model" else ""
