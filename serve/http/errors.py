"""Errors in the shape that OpenAI's clients understand."""

from collections.abc import Sequence
from typing import Any

from starlette.responses import JSONResponse

TYPES = {
    400: "invalid_request_error",
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    405: "invalid_request_error",
    408: "invalid_request_error",
    409: "conflict_error",
    413: "invalid_request_error",
    415: "invalid_request_error",
    422: "invalid_request_error",
    429: "rate_limit_error",
    502: "server_error",
    503: "service_unavailable_error",
}


def error_body(status: int, message: str, *, param: str | None = None, code: str | None = None) -> dict[str, Any]:
    """`{"error": {message, type, param, code}}`
    (https://platform.openai.com/docs/guides/error-codes/api-errors)."""
    kind = TYPES.get(status, "server_error" if status >= 500 else "invalid_request_error")
    return {"error": {"message": message, "type": kind, "param": param, "code": code}}


def error_response(
    status: int,
    message: str,
    *,
    param: str | None = None,
    code: str | None = None,
    retry_after: int | None = None,
    reasons: Sequence[str] = (),
) -> JSONResponse:
    """The same as a response; `retry_after` in seconds, `reasons` one by one where there are several."""
    headers = {"Retry-After": str(retry_after)} if retry_after is not None else None
    body = error_body(status, message, param=param, code=code)
    if reasons:
        body["error"]["reasons"] = list(reasons)
    return JSONResponse(body, status, headers)
