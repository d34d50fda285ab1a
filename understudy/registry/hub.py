"""Adapters on the Hugging Face Hub: which commit a name means, and how its files are downloaded.

Every function blocks for a bounded time and imports the Hub's client only when it is called.
"""

import contextlib
import fnmatch
import hashlib
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from packaging.version import InvalidVersion, Version
from pydantic import BaseModel, ConfigDict

from understudy.errors import HubError
from understudy.hub_errors import hub_failure
from understudy.registry.adapters import COMMIT, CONFIG, KEPT, WEIGHTS, short

if TYPE_CHECKING:
    from huggingface_hub import HfApi

TIMEOUT = 10.0
"""Seconds that the Hub gets for each answer, and for each piece of a file."""

MAX_BYTES = 5 * 2**30
"""Largest sum of kept files that we download."""

LATEST = "latest"
"""The policy that follows the head of main."""

SOURCE = "hub:"
"""The source of a revision from the Hub begins with it: `hub:ORG/NAME@REVISION`."""

WILDCARD = re.compile(r"[*?\[]")

REPO = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*", re.ASCII)
"""What a repository may be called: never a path."""


class ResolvedRevision(BaseModel):
    """What a name or a policy means at this moment."""

    model_config = ConfigDict(frozen=True)

    commit: str
    """40 hex digits."""
    name: str
    """For people: the tag, the branch, or the start of the commit."""


def wanted_commit(repo: str, policy: str, *, endpoint: str = "") -> ResolvedRevision:
    """Resolve what `policy` means in a repository now: `latest` (the head of main), a pattern of tags such as `v*` (the
    highest that fits, in the order of versions), or else a tag or a commit.

    Raises:
        HubError: the repository or such a revision is not there or closed to us, or the Hub is in trouble.
    """
    if COMMIT.fullmatch(policy):
        return ResolvedRevision(commit=policy, name=short(policy))
    with _explained(repo, policy):
        branches, tags = _refs(repo, endpoint)
        if policy == LATEST:
            return _of(branches, "main", repo)
        if WILDCARD.search(policy):
            if (tag := highest_tag(tags, policy)) is None:
                raise HubError(f"{repo}: no tag fits {policy!r}; tags there are: {_listed(tags)}", "revision")
            return _of(tags, tag, repo)
        if policy in tags or not re.fullmatch("[0-9a-f]{7,39}", policy):
            return _of(tags, policy, repo)
        return _published(repo, policy, branches | tags, endpoint)


def published_commit(repo: str, revision: str = "", *, endpoint: str = "") -> ResolvedRevision:
    """Resolve `revision` (a branch, a tag or a commit; empty means main) of a repository.

    Only commits that the repository's owners published count: the Hub also answers for the commits of pull requests,
    which anybody may open.

    Raises:
        HubError: as `wanted_commit`.
    """
    with _explained(repo, revision):
        branches, tags = _refs(repo, endpoint)
        names = tags | branches
        if not revision or revision in names:
            return _of(names, revision or "main", repo)
        if not re.fullmatch("[0-9a-f]{7,40}", revision):
            raise HubError(f"{repo} has no revision {revision!r}; give a branch, a tag or a commit", "revision")
        return _published(repo, revision, names, endpoint)


def highest_tag(tags: Iterable[str], pattern: str) -> str | None:
    """Return the highest tag that fits a pattern such as `v*`: 10 is above 9, and versions are above other tags."""
    start = len(WILDCARD.split(pattern, maxsplit=1)[0])

    def rank(tag: str) -> tuple[bool, Version, list[tuple[bool, int, str]]]:
        parts = re.findall(r"\d+|\D+", tag)
        natural = [(part.isdecimal(), int(part) if part.isdecimal() else 0, part) for part in parts]
        try:
            return True, Version(tag[start:]), natural
        except InvalidVersion:
            return False, Version("0"), natural

    return max((tag for tag in tags if fnmatch.fnmatchcase(tag, pattern)), key=rank, default=None)


def fetch_adapter(
    repo: str, revision: str, *, endpoint: str = "", cache: Path | None = None, max_bytes: int = MAX_BYTES
) -> tuple[Path, str]:
    """Download the kept files of one commit; return their folder (read-only, links into the cache) and the commit.

    `revision` is a branch, a tag or a commit. The result is pinned: a branch that moves later changes nothing.
    A download that broke off resumes where it stopped. `cache` replaces the Hub client's own.

    Raises:
        HubError: there is no such repository or revision, it is closed to us, it holds no adapter in
            safetensors form, it is too large, or the Hub cannot be reached.
    """
    from huggingface_hub import snapshot_download
    from huggingface_hub.utils import tqdm

    class Quiet(tqdm):
        def __init__(self, *args: Any, **more: Any) -> None:
            super().__init__(*args, **{**more, "disable": True})

    with _explained(f"{repo}@{revision}", revision):
        info = hub_api(endpoint).model_info(repo, revision=revision, files_metadata=True, timeout=TIMEOUT)
        kept = [s for s in info.siblings or [] if KEPT.fullmatch(s.rfilename)]
        commit = info.sha or ""
        _require_adapter({s.rfilename: s.size or 0 for s in kept}, f"{repo}@{short(commit)}", max_bytes)
        folder = snapshot_download(
            repo,
            revision=commit,
            allow_patterns=sorted(s.rfilename for s in kept),
            tqdm_class=Quiet,
            endpoint=endpoint or None,
            cache_dir=cache,
        )
        for file in kept:
            if file.lfs is not None and file.lfs.sha256:
                _require_intact(Path(folder) / file.rfilename, file.lfs.sha256)
        return Path(folder), commit


def forget_download(commit: str) -> None:
    """Delete a commit from the cache of the Hub's client, once its files are kept elsewhere."""
    from huggingface_hub import scan_cache_dir
    from huggingface_hub.errors import CacheNotFound

    with contextlib.suppress(CacheNotFound, OSError):
        scan_cache_dir().delete_revisions(commit).execute()


def hub_api(endpoint: str = "", token: str = "", *, timeout: float = TIMEOUT) -> "HfApi":
    """The Hub's own client, which gives up after `timeout` seconds without an answer.

    Empty means the client's own choice: HF_ENDPOINT, and HF_TOKEN or the token that `hf auth login` left.
    """
    from huggingface_hub import HfApi, get_session

    get_session().timeout = timeout  # without it, the client waits for ever for a Hub that accepts and says nothing
    return HfApi(endpoint=endpoint or None, token=token or None)


def hub_error(error: Exception, where: str, *, revision: str = "", writing: bool = False) -> HubError:
    """The HubError for what the Hub's client raised; its message begins with `where`."""
    kind, sentence, retry_after, passing = hub_failure(error, revision=revision, writing=writing)
    return HubError(f"{where}: {sentence}", kind, passing=passing, retry_after=retry_after)


def _refs(repo: str, endpoint: str) -> tuple[dict[str, str], dict[str, str]]:
    """Branches and tags of a repository, by name, and the commits that they mean."""
    refs = hub_api(endpoint).list_repo_refs(repo)
    return {r.name: r.target_commit for r in refs.branches}, {r.name: r.target_commit for r in refs.tags}


def _of(refs: dict[str, str], name: str, repo: str) -> ResolvedRevision:
    commit = refs.get(name, "")
    if not COMMIT.fullmatch(commit):
        raise HubError(f"{repo} has no revision {name!r}; those there are: {_listed(refs)}", "revision")
    return ResolvedRevision(commit=commit, name=name)


def _published(repo: str, start: str, names: dict[str, str], endpoint: str) -> ResolvedRevision:
    """The one commit that begins with `start`, among those that have a name and those of main."""
    commits = {commit for commit in names.values() if commit.startswith(start)}
    if not commits:
        history = hub_api(endpoint).list_repo_commits(repo, revision="main")
        commits = {c.commit_id for c in history if c.commit_id.startswith(start)}
    commits = {commit for commit in commits if COMMIT.fullmatch(commit)}
    if len(commits) != 1:
        found = "several commits begin so" if commits else "no commit of main begins so"
        raise HubError(f"{repo} has no revision {start!r}: {found}", "revision")
    commit = commits.pop()
    return ResolvedRevision(commit=commit, name=short(commit))


def _listed(names: Iterable[str]) -> str:
    return ", ".join(sorted(names)[:10]) or "none"


def _require_intact(path: Path, sha256: str) -> None:
    """Delete a file that differs from the Hub's, as a resumed download may, and raise HubError: it is fetched again."""
    with path.open("rb") as file:
        if hashlib.file_digest(file, "sha256").hexdigest() == sha256:
            return
    path.resolve().unlink()
    path.unlink(missing_ok=True)
    raise HubError(f"{path.name} came damaged (its SHA-256 is not the Hub's); it is fetched again", "cut", passing=True)


def _require_adapter(sizes: dict[str, int], where: str, max_bytes: int) -> None:
    missing = [name for name in (CONFIG, WEIGHTS) if name not in sizes]
    if missing:
        text = f"{where}: no {' and no '.join(missing)} there; it is no PEFT adapter saved as safetensors"
        raise HubError(text, "no_adapter")
    if sum(sizes.values()) > max_bytes:
        text = f"{where}: its files have {sum(sizes.values()):,} bytes, more than the {max_bytes:,} we take"
        raise HubError(text, "too_large")


@contextlib.contextmanager
def _explained(where: str, revision: str) -> Iterator[None]:
    """Turns whatever the client raises in the block into a HubError."""
    try:
        yield
    except HubError:
        raise
    except Exception as error:
        raise hub_error(error, where, revision=revision) from error
