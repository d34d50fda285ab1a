"""Maps what the Hub's client raises to one cause: every package says it in the same words.

The client's transport has errors of its own, which change with its version, so callers catch `Exception` around a call
of the client and ask here what happened.
"""

import errno
import re
from collections.abc import Iterator
from typing import NamedTuple

MAX_WAIT = 3600.0
"""Seconds: the longest pause that we let the Hub ask for."""

NO_ROOM = {errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES}

TOKEN = re.compile(r"\bhf_\w+")


class HubFailure(NamedTuple):
    """Why a call of the Hub failed."""

    kind: str
    """`name`, `gated`, `revision`, `closed`, `token`, `missing`, `conflict`, `refused`, `rate_limited`, `hub_error`,
    `offline`, `disk`, `cut` or `unreachable`."""
    sentence: str
    """What went wrong and what to do, in one line without a token."""
    retry_after: float
    """Seconds that the Hub wants us to wait; 0 when it does not say."""
    passing: bool
    """Whether it may be over by itself."""


def hub_failure(error: BaseException, *, revision: str = "", writing: bool = False) -> HubFailure:
    """Say why a call of the Hub's client failed.

    Args:
        error: what the client raised; what it came from counts, too, because the client hides refusals.
        revision: the branch, tag or commit that was asked for.
        writing: the call was to change something, so a refusal is about the token's rights.
    """
    causes = list(_causes(error))
    status = _status(causes)
    found = _refusal_to_write(causes, status) if writing else None
    kind, passing, sentence = found or _refusal(causes, status, revision, writing) or _trouble(causes, status)
    return HubFailure(kind, sentence, _pause(causes), passing)


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    """An error and what it came from: the client hides a refusal behind "not in the cache"."""
    for _ in range(8):
        if error is None:
            return
        yield error
        error = error.__cause__ or error.__context__


def _status(causes: list[BaseException]) -> int | None:
    """The HTTP status of the Hub's answer; None when it did not answer."""
    return next((s for e in causes if (s := getattr(getattr(e, "response", None), "status_code", None))), None)


def _refusal_to_write(causes: list[BaseException], status: int | None) -> tuple[str, bool, str] | None:
    """A refusal that only writing meets: kind, whether it may pass, sentence."""
    from huggingface_hub import errors

    if any(isinstance(e, errors.HFValidationError | errors.RepositoryNotFoundError) for e in causes):
        return None
    if status in (401, 403):
        remedy = "set HF_TOKEN to one that may, or give another organisation"
        kind = "token" if status == 401 else "closed"
        return kind, False, f"the token may not write there{_quote(causes)}; {remedy}"
    if status == 412:
        return "conflict", True, "somebody else pushed there at the same time; look at it, then push again"
    if status in (400, 413, 422) or isinstance(causes[0], ValueError):
        return "refused", False, f"the Hub does not take it{_quote(causes) or f': {_line(causes[0])}'}"
    return None


def _refusal(
    causes: list[BaseException], status: int | None, revision: str, writing: bool
) -> tuple[str, bool, str] | None:
    """A refusal that asking again does not change: kind, whether it may pass, sentence."""
    from huggingface_hub import errors

    def among(*kinds: type[BaseException]) -> bool:
        return any(isinstance(e, kinds) for e in causes)

    if among(errors.HFValidationError):
        return "name", False, "that is no name of a repository; it looks like organisation/name"
    if among(errors.GatedRepoError):
        return "gated", False, "it is gated; accept its terms on the Hub and set HF_TOKEN"
    if among(errors.RevisionNotFoundError):
        text = f"the repository has no revision {revision!r}; give a branch, a tag or a commit"
        return "revision", False, text
    if status == 403:
        return "closed", False, "the token may not read it; set an HF_TOKEN that may"
    if among(errors.RepositoryNotFoundError) or status == 401:
        kind = "missing" if among(errors.RepositoryNotFoundError) else "token"
        token = "give a token that may write there (HF_TOKEN)" if writing else "set HF_TOKEN if it is private"
        return kind, False, f"not on the Hub, or private; check the name, and {token}"
    if among(errors.OfflineModeIsEnabled):
        return "offline", False, "HF_HUB_OFFLINE is set, so the Hub is not asked"
    return None


def _trouble(causes: list[BaseException], status: int | None) -> tuple[str, bool, str]:
    """Trouble with the Hub, the connection or the disk: kind, whether it may pass, sentence."""
    if status == 429:
        return "rate_limited", True, "the Hub says that we ask too often; try again later"
    if status is not None:
        text = f"the Hub answered {status}{_quote(causes)}; try again later"
        return "hub_error", status >= 500 or status == 408, text
    if any(isinstance(e, OSError) and e.errno in NO_ROOM for e in causes):
        return "disk", True, f"it cannot be stored: {causes[0]}"
    text = _line(causes[0])
    if "Consistency check failed" in text:
        return "cut", True, "the download broke off; it goes on where it stopped"
    return "unreachable", True, f"the Hub cannot be reached ({text})"


def _line(error: BaseException) -> str:
    """An error in one line of at most 200 characters."""
    return (" ".join(str(error).split()) or type(error).__name__)[:200]


def _quote(causes: list[BaseException]) -> str:
    """What the Hub itself says, in parentheses and without any token; empty when it says nothing."""
    from huggingface_hub import get_token

    answered = next((e for e in causes if getattr(e, "response", None) is not None), None)
    said = " ".join(str(getattr(answered, "server_message", None) or "").split())[:200]
    if token := get_token():
        said = said.replace(token, "***")
    said = TOKEN.sub("***", said)
    return f" (the Hub says: {said})" if said else ""


def _pause(causes: list[BaseException]) -> float:
    """Seconds that the Hub wants us to wait; 0 when it does not say."""
    from huggingface_hub.utils import parse_ratelimit_headers

    for error in causes:
        headers = getattr(getattr(error, "response", None), "headers", None)
        if headers is None:
            continue
        said = str(headers.get("retry-after", ""))
        limit = parse_ratelimit_headers(headers)
        spent = limit.reset_in_seconds if limit and _status([error]) == 429 else 0
        return min(MAX_WAIT, float(max(int(said) if said.isdecimal() else 0, spent)))
    return 0.0
