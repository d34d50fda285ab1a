"""The Hub as the Space meets it: a client that gives up in time, and errors of one line."""

from typing import TYPE_CHECKING

from understudy.registry.hub import causes_of

if TYPE_CHECKING:
    from huggingface_hub import HfApi

TIMEOUT = 15.0
"""Seconds that the Hub gets for each answer."""


def hub_api(endpoint: str = "", token: str = "") -> "HfApi":
    """The Hub's own client. Empty means its own choice: HF_ENDPOINT, and HF_TOKEN or what `hf auth login` left."""
    from huggingface_hub import HfApi, get_session

    get_session().timeout = TIMEOUT  # without it, the client waits for ever for a Hub that accepts and says nothing
    return HfApi(endpoint=endpoint or None, token=token or None)


def reason(error: BaseException) -> str:
    """What went wrong and what to do, in one line."""
    from huggingface_hub import errors

    causes = list(causes_of(error))
    status = next((s for e in causes if (s := getattr(getattr(e, "response", None), "status_code", None))), None)
    if any(isinstance(e, errors.HFValidationError) for e in causes):
        return "that is no name of a repository; it looks like organisation/name"
    if any(isinstance(e, errors.OfflineModeIsEnabled) for e in causes):
        return "HF_HUB_OFFLINE is set, so nothing goes to the Hub"
    if status == 403:
        return "the token may not do that; give one that may write there"
    if status == 401 or any(isinstance(e, errors.RepositoryNotFoundError) for e in causes):
        return "not on the Hub, or closed to us; check the name, and give a token that may write there (HF_TOKEN)"
    if status == 429:
        return "the Hub says that we ask too often; try again later"
    if status is not None and status >= 500:
        return f"the Hub answered {status}; try again later"
    said = " ".join(str(causes[0]).split()) or type(causes[0]).__name__
    if status is not None:
        return f"the Hub answered {status} ({said[:200]})"
    return f"the Hub cannot be reached ({said[:200]})"
