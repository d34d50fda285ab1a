"""Adapters on the Hugging Face Hub: fetching one commit's kept files into the Hub client's own cache."""

from pathlib import Path
from typing import Any

from understudy.adapters import CONFIG, KEPT, WEIGHTS, short
from understudy.errors import AdapterError

TIMEOUT = 10.0
"""Seconds that the Hub gets to say what a revision is."""

MAX_BYTES = 5 * 2**30
"""Largest sum of kept files that we download."""


def fetch_adapter(repo: str, revision: str) -> tuple[Path, str]:
    """Downloads the kept files of one commit; returns their folder (read-only, links into the cache) and the commit.

    `revision` is a branch, a tag or a commit. What is returned is pinned: a branch that moves later changes nothing.

    Raises:
        AdapterError: there is no such repository or revision, it is closed to us, it holds no adapter in
            safetensors form, it is too large, or the Hub cannot be reached.
    """
    from huggingface_hub import HfApi, snapshot_download
    from huggingface_hub.utils import tqdm

    class Quiet(tqdm):
        def __init__(self, *args: Any, **more: Any) -> None:
            super().__init__(*args, **{**more, "disable": True})

    wanted = f"{repo}@{revision}"
    try:
        info = HfApi().model_info(repo, revision=revision, files_metadata=True, timeout=TIMEOUT)
        sizes = {s.rfilename: s.size or 0 for s in info.siblings or [] if KEPT.fullmatch(s.rfilename)}
        commit = info.sha or ""
        _require_adapter(sizes, f"{repo}@{short(commit)}")
        return Path(snapshot_download(repo, revision=commit, allow_patterns=sorted(sizes), tqdm_class=Quiet)), commit
    except AdapterError:
        raise
    except Exception as error:  # the client's transport has errors of its own, and they change with its version
        raise AdapterError(f"{wanted}: {_reason(error, revision)}") from error


def _require_adapter(sizes: dict[str, int], where: str) -> None:
    missing = [name for name in (CONFIG, WEIGHTS) if name not in sizes]
    if missing:
        raise AdapterError(f"{where}: no {' and no '.join(missing)} there; it is no PEFT adapter saved as safetensors")
    if sum(sizes.values()) > MAX_BYTES:
        raise AdapterError(
            f"{where}: its files have {sum(sizes.values()):,} bytes, more than the {MAX_BYTES:,} we take"
        )


def _reason(error: Exception, revision: str) -> str:
    """What went wrong and what to do, in one line."""
    from huggingface_hub import errors

    status = getattr(getattr(error, "response", None), "status_code", None)
    if isinstance(error, errors.GatedRepoError):
        return "it is gated; accept its terms on the Hub and set HF_TOKEN"
    if isinstance(error, errors.RevisionNotFoundError):
        return f"the repository has no revision {revision!r}; give a branch, a tag or a commit"
    if status == 403:
        return "the token may not read it; set an HF_TOKEN that may"
    if isinstance(error, errors.RepositoryNotFoundError) or status == 401:
        return "not on the Hub, or private; check the name, and set HF_TOKEN if it is private"
    if isinstance(error, errors.HFValidationError):
        return "that is no name of a repository; it looks like organisation/name"
    if status is not None:
        return f"the Hub answered {status}; try again later"
    if isinstance(error, errors.OfflineModeIsEnabled):
        return "HF_HUB_OFFLINE is set, so nothing is fetched from the Hub"
    return f"the Hub cannot be reached ({' '.join(str(error).split()) or type(error).__name__})"
