"""Reads a call of the Hub's webhook. Nothing in it is believed but which repository to look at.

https://huggingface.co/docs/hub/webhooks: the secret comes in a header, and a delivery may come twice, late, or in
another order. All that it can cause is one more poll of a repository that is followed.
"""

import hmac

from pydantic import SecretStr
from starlette.exceptions import HTTPException
from starlette.requests import Request

from serve.http.errors import HttpRefusalError
from serve.http.request import read_object

MAX_BODY = 256 * 1024
"""Bytes; the Hub's own are a few thousand."""

SECRET = "x-webhook-secret"


async def webhook_repo(request: Request, secret: SecretStr | None) -> str:
    """The model repository that the call is about; empty for another kind of repository, which nothing follows.

    Raises:
        HTTPException: 404, there is no webhook without a secret.
        HttpRefusalError: the secret is wrong, or the body is not the Hub's.
    """
    if secret is None or not secret.get_secret_value():
        raise HTTPException(404)
    if not same_secret(request.headers.get(SECRET, ""), secret):
        raise HttpRefusalError(401, "missing or wrong webhook secret", code="invalid_webhook_secret")
    repo = (await read_object(request, max_bytes=MAX_BODY)).get("repo")
    if not isinstance(repo, dict) or not isinstance(repo.get("name"), str):
        raise HttpRefusalError(400, "the body has no repo.name; this route is for webhooks of the Hub", param="repo")
    return repo["name"] if repo.get("type") == "model" else ""


def same_secret(given: str, known: SecretStr | None) -> bool:
    """Compares in constant time; without a known secret nothing is the same."""
    secret = known.get_secret_value() if known else ""
    return bool(secret) and hmac.compare_digest(given.encode("utf-8", "replace"), secret.encode())
