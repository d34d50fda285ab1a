"""Errors of the gateway as notices for visitors: by their code, and why it is not ready."""

import socket
from typing import Any, Literal

import httpx
from pydantic import BaseModel, ConfigDict

from space.i18n import NO_NOTICE, Notice, coded_notice, notice
from understudy.errors import GatewayError

PROXY_STATUSES = (502, 503, 504)
"""What proxies answer while the server behind them is not up."""
INPUT_TOO_LONG = ("input_tokens", "input_text")
"""vLLM's `param` of the error for a prompt longer than the context (vllm/renderers/params.py)."""

GpuTrouble = Literal["quota", "duration", "busy", "ended", "failed"]
GPU_TITLES: tuple[tuple[str, GpuTrouble], ...] = (
    ("quota", "quota"),
    ("credits", "quota"),
    ("duration", "duration"),
    ("queue", "busy"),
    ("client", "busy"),
)
"""Words in the titles of what `spaces` raises (spaces/zero/client.py), and what they mean."""
GPU_ENDED = ("aborted", "OutOfMemoryError")
"""What it says of a call that was ended, by ZeroGPU or for lack of memory (spaces/zero/wrappers.py)."""


class Readiness(BaseModel):
    """Whether the gateway answers, and if not, why."""

    model_config = ConfigDict(frozen=True)

    status: Literal["ready", "starting", "waking", "down"]
    """starting: the gateway says so; waking: a proxy answers for a server that is not up yet."""
    detail: Notice = NO_NOTICE


class ModelServerError(GatewayError):
    """The gateway did not answer as asked; `notice` tells a visitor why."""

    def __init__(self, why: Notice, *, retry_after: float = 0.0) -> None:
        """`retry_after` is in seconds, 0 where the gateway does not say."""
        super().__init__(why.text(), code=why.key)
        self.notice = why
        self.retry_after = retry_after


class GatewayAwayError(ModelServerError):
    """The gateway is away and no answer has begun, so the same question may be asked again."""


def readiness_of(response: httpx.Response) -> Readiness:
    """What an answer of `GET /ready` means, also when a proxy gave it."""
    if response.is_success:
        return Readiness(status="ready")
    status = response.status_code
    try:
        body = response.json()
        if body["status"] == "loading":  # the base answers, and a question to a persona waits until it is loaded
            return Readiness(status="ready")
        return Readiness(status=body["status"], detail=Notice(words=str(body.get("detail") or "").strip()))
    except (ValueError, KeyError, TypeError, AttributeError):
        if status == 503:
            return Readiness(status="waking", detail=notice("banner_detail_sleeping"))
        if status in PROXY_STATUSES:
            return Readiness(status="waking", detail=notice("banner_detail_proxy", status=status))
        return Readiness(status="down", detail=notice("banner_detail_status", status=status))


def unreachable(error: httpx.HTTPError) -> Notice:
    """Why a request got no answer, without the address."""
    if isinstance(error, httpx.TimeoutException):
        return notice("banner_detail_late")
    causes: list[BaseException] = [error]
    while following := causes[-1].__cause__ or causes[-1].__context__:
        causes.append(following)
    if any(isinstance(cause, socket.gaierror) for cause in causes):
        return notice("banner_detail_no_address")
    if any(isinstance(cause, ConnectionRefusedError) for cause in causes):
        return notice("banner_detail_refused")
    return notice("error_unreachable")


def gpu_trouble(error: Exception, *, on_zerogpu: bool) -> GpuTrouble:
    """Why a call had no GPU (quota, busy, duration: longer than a visitor may have), or was ended, or failed by itself.

    On ZeroGPU an error of the call itself arrives as "ZeroGPU worker error"; any other is of the way to the GPU.
    """
    title = str(getattr(error, "title", ""))
    for word, trouble in GPU_TITLES:
        if word in title:
            return trouble
    if any(word in f"{type(error).__name__} {error}" for word in GPU_ENDED):
        return "ended"
    return "failed" if "worker" in title or not on_zerogpu else "busy"


def refusal(body: Any, status: int, retry_after: str | None = None) -> ModelServerError:
    """The error for an OpenAI-shaped error body; a proxy's status means that the gateway is away."""
    error = body.get("error") if isinstance(body, dict) else None
    why = _why(error if isinstance(error, dict) else {}, status)
    if status in PROXY_STATUSES:
        return GatewayAwayError(why, retry_after=_seconds(retry_after))
    return ModelServerError(why)


def _why(error: dict[str, Any], status: int) -> Notice:
    message = str(error.get("message") or "")
    if error.get("param") in INPUT_TOO_LONG:
        return notice("error_too_long")
    if status in (401, 403):
        return notice("error_no_key")
    if status == 429:
        return notice("error_busy")
    if status in PROXY_STATUSES and status != 503:
        return notice("error_waking_proxy", status=status)
    if message:
        return coded_notice(str(error.get("code") or ""), message)
    return notice("error_waking") if status == 503 else notice("error_status", status=status)


def _seconds(retry_after: str | None) -> float:
    """Seconds of a Retry-After; a date in it, or nonsense, counts as 0."""
    return float(retry_after) if retry_after and retry_after.isdecimal() else 0.0
