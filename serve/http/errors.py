"""Refusals and errors in the shape that OpenAI's clients understand."""

from collections.abc import Sequence
from typing import Any, Literal, TypeAlias

from starlette.responses import JSONResponse

from understudy.errors import EngineError, NotFoundError, PublishError

Refusal: TypeAlias = Literal["key", "rate_limit", "overloaded", "body", "unknown_model", "engine", "hub"]
"""What the metrics count a refusal under."""

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


ENGINE_RETRY_AFTER = 5
"""Seconds after which a client may ask again while the engine is down."""


class HttpRefusalError(Exception):
    """A request is turned away; every layer of the gateway raises it, and it leaves as `response`."""

    def __init__(
        self,
        status: int,
        message: str,
        *,
        reason: Refusal = "body",
        param: str | None = None,
        code: str | None = None,
        retry_after: int | None = None,
        reasons: Sequence[str] = (),
    ) -> None:
        """`reason` is what the metrics count it under; `retry_after` in seconds."""
        super().__init__(message)
        self.status, self.message, self.reasons = status, message, list(reasons)
        self.reason: Refusal = reason
        self.param, self.code, self.retry_after = param, code, retry_after

    @property
    def response(self) -> JSONResponse:
        """The refusal in OpenAI's shape."""
        return error_response(
            self.status,
            self.message,
            param=self.param,
            code=self.code,
            retry_after=self.retry_after,
            reasons=self.reasons,
        )

    def retried_after(self, seconds: float) -> "HttpRefusalError":
        """A copy to raise again, with the seconds that are left to wait; without any if it had none."""
        return HttpRefusalError(
            self.status,
            self.message,
            reason=self.reason,
            param=self.param,
            code=self.code,
            retry_after=None if self.retry_after is None else max(1, int(seconds)),
            reasons=self.reasons,
        )


def refusal_of(error: NotFoundError | PublishError | EngineError) -> HttpRefusalError:
    """The refusal of a change that an admin asked for."""
    if isinstance(error, NotFoundError):
        return HttpRefusalError(404, str(error), code="not_found")
    if isinstance(error, PublishError):
        return HttpRefusalError(409, str(error), code="refused", reasons=error.reasons)
    return engine_not_ready(str(error))


def engine_not_ready(message: str, code: str = "engine_down") -> HttpRefusalError:
    """503: the engine is starting, down, or failed before its answer began."""
    return HttpRefusalError(503, message, reason="engine", code=code, retry_after=ENGINE_RETRY_AFTER)


def model_not_ready(
    message: str, seconds: float, *, reason: Refusal, code: str = "model_not_ready"
) -> HttpRefusalError:
    """503: the model cannot answer now; the client may ask again after so many seconds."""
    return HttpRefusalError(503, message, reason=reason, param="model", code=code, retry_after=max(1, int(seconds)))
