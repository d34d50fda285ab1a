"""Pushes a release to the Hub in one commit and tags it v1, v2, …: `understudy push PERSONA --to hub:ORG/REPO`."""

import contextlib
import hashlib
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from train.hub.release import PROOF, TOKENIZER
from understudy.errors import HubError
from understudy.registry.adapters import CONFIG, KEPT
from understudy.registry.hub import REPO, TIMEOUT, hub_api, hub_error

if TYPE_CHECKING:
    from huggingface_hub import HfApi

PATIENCE = 60.0
"""Seconds to wait for each answer of the Hub while pushing."""

TAG = re.compile(r"v(\d+)")
MOST_TAGS = 50
"""Tag numbers to try while others push at the same time."""


@dataclass(frozen=True)
class Pushed:
    """Where a release is on the Hub."""

    repo: str
    commit: str
    tag: str
    new: bool
    """False if exactly the same content was there before."""
    url: str


@dataclass(frozen=True)
class _Head:
    """The state of a repository before a push."""

    commit: str | None
    files: Mapping[str, str]
    """The Hub's hash of each file: SHA-256 if it is kept by LFS, else git's blob hash."""
    tags: Mapping[str, str]
    """The commit of each tag."""
    private: bool
    gated: bool


def repo_of(address: str) -> str:
    """Return the repository of an address such as `hub:ann/poet`. Raises HubError."""
    kind, _, repo = address.partition(":")
    if kind != "hub" or not REPO.fullmatch(repo):
        raise HubError(f"{address!r} is no place to push to; use registry, or hub:ORG/REPO", "name")
    return repo


def push_release(
    repo: str,
    files: Mapping[str, bytes | Path],
    *,
    message: str,
    private: bool = False,
    gated: bool = False,
    tag: str = "",
    endpoint: str = "",
    progress: bool = False,
) -> Pushed:
    """Create the repository if there is none, commit `files` in one commit, and tag it.

    Nothing that somebody else pushes meanwhile is overwritten. After a failure it can simply be called again: large
    files that arrived are not sent twice, and the same content makes no second commit.

    Args:
        tag: the tag's name; empty means the next free one of v1, v2, ...

    Raises:
        HubError: there is no token or it may not write there, the repository is of another kind, somebody else
            pushed at the same time, the tag is taken, or the Hub is in trouble.
    """
    if tag and not re.fullmatch(r"[A-Za-z0-9][\w.-]*", tag):
        raise HubError(f"--tag {tag!r}: use letters, digits, dots and dashes, such as v3", "name")
    with _explained(repo):
        api = _api(endpoint, progress)
        head = _head(api, repo) or _create(api, repo, private=private)
        _require_kind(repo, head, files)
        if (private and not head.private) or (gated and not head.gated):
            api.update_repo_settings(repo, private=private or None, gated="auto" if gated else None)
        stale = _stale(head, files)
        if head.commit and not stale and all(_same(head.files.get(name), data) for name, data in files.items()):
            return _already_pushed(api, repo, head, head.commit, tag)
        if tag in head.tags:
            raise HubError(f"{repo} has a tag {tag} already; leave --tag out for the next free one", "tag")
        commit = _commit(api, repo, files, stale, head, message)
        name = _tag(api, repo, commit, tag)
        return Pushed(repo, commit, name, True, f"{api.endpoint}/{repo}/tree/{name}")


def _api(endpoint: str, progress: bool) -> "HfApi":
    from huggingface_hub import get_token
    from huggingface_hub.utils import disable_progress_bars, enable_progress_bars
    from huggingface_hub.utils import logging as hub_logging

    if not get_token():
        raise HubError("no token for the Hub: run `hf auth login`, or set HF_TOKEN to a token that may write", "token")
    hub_logging.set_verbosity_error()
    (enable_progress_bars if progress else disable_progress_bars)()
    return hub_api(endpoint, timeout=PATIENCE)


def _head(api: "HfApi", repo: str) -> _Head | None:
    """Return the state of the repository; None if this token sees no such repository."""
    from huggingface_hub.errors import RepositoryNotFoundError

    try:
        info = api.model_info(repo, files_metadata=True, timeout=TIMEOUT)
    except RepositoryNotFoundError:
        return None
    tags = {ref.name: ref.target_commit for ref in api.list_repo_refs(repo).tags}
    files = {s.rfilename: (s.lfs.sha256 if s.lfs else s.blob_id) or "" for s in info.siblings or []}
    return _Head(info.sha, files, tags, bool(info.private), bool(info.gated))


def _create(api: "HfApi", repo: str, *, private: bool) -> _Head:
    for kind, name in (("dataset", "data set"), ("space", "Space")):
        if api.repo_exists(repo, repo_type=kind):
            raise HubError(f"{repo} is a {name} on the Hub; give the model a name of its own", "kind")
    api.create_repo(repo, private=private or None, exist_ok=True)
    head = _head(api, repo)
    if head is None:
        raise HubError(f"{repo} is there already, but this token may not see it; use another name or token", "closed")
    return head


def _require_kind(repo: str, head: _Head, files: Mapping[str, bytes | Path]) -> None:
    """Refuse to mix whole models and adapters in one repository: the Hub's clients would load the wrong one."""
    theirs = "an adapter" if CONFIG in head.files else "a whole model" if "config.json" in head.files else ""
    ours = "an adapter" if CONFIG in files else "a whole model"
    if theirs and theirs != ours:
        raise HubError(f"{repo} holds {theirs}, and this is {ours}; push it to a repository of its own", "kind")


def _stale(head: _Head, files: Mapping[str, bytes | Path]) -> list[str]:
    """Return the files of an earlier release that this one lacks; left there, they would seem to belong to it."""
    ours = re.compile(f"{re.escape(PROOF)}|{KEPT.pattern}|{TOKENIZER.pattern}")
    return sorted(name for name in head.files if name not in files and ours.fullmatch(name))


def _same(there: str | None, data: bytes | Path) -> bool:
    """Return whether the Hub's hash of a file (SHA-256 if it is kept by LFS, else git's) is that of `data`."""
    if there is None:
        return False
    if isinstance(data, Path) and len(there) == 64:
        with data.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest() == there
    content = data.read_bytes() if isinstance(data, Path) else data
    if len(there) == 64:
        return hashlib.sha256(content).hexdigest() == there
    return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest() == there


def _already_pushed(api: "HfApi", repo: str, head: _Head, commit: str, tag: str) -> Pushed:
    """Return the earlier push of the same content, with the tag added if it lacks it."""
    known = [name for name, at in head.tags.items() if at == commit]
    if tag in head.tags and tag not in known:
        raise HubError(f"{repo} has a tag {tag} already, of another commit; leave --tag out", "tag")
    name = tag if tag in known else _tag(api, repo, commit, tag) if tag else max(known, key=_number, default="")
    name = name or _tag(api, repo, commit, "")
    return Pushed(repo, commit, name, False, f"{api.endpoint}/{repo}/tree/{name}")


def _commit(
    api: "HfApi", repo: str, files: Mapping[str, bytes | Path], stale: list[str], head: _Head, message: str
) -> str:
    from huggingface_hub import CommitOperationAdd, CommitOperationDelete

    steps: list[CommitOperationAdd | CommitOperationDelete] = [
        CommitOperationAdd(name, content) for name, content in sorted(files.items())
    ]
    steps += [CommitOperationDelete(name) for name in stale]
    return api.create_commit(repo, steps, commit_message=message, parent_commit=head.commit).oid


def _tag(api: "HfApi", repo: str, commit: str, wanted: str) -> str:
    """Tag the commit with `wanted`, or with the next free number."""
    from huggingface_hub.errors import HfHubHTTPError

    for _ in range(MOST_TAGS):
        there = {ref.name for ref in api.list_repo_refs(repo).tags}
        name = wanted or f"v{1 + max(map(_number, there), default=0)}"
        try:
            api.create_tag(repo, tag=name, revision=commit)
        except HfHubHTTPError as error:
            if error.response.status_code != 409:
                raise
            if wanted:
                raise HubError(
                    f"{repo} got a tag {wanted} from somebody else meanwhile; choose another", "tag"
                ) from None
        else:
            return name
    raise HubError(f"{repo}: no number for a tag was free; name one with --tag", "tag")


def _number(tag: str) -> int:
    return int(match[1]) if (match := TAG.fullmatch(tag)) else 0


@contextlib.contextmanager
def _explained(repo: str) -> Iterator[None]:
    """Turns whatever the client raises in the block into a HubError that says whether pushing again helps."""
    try:
        yield
    except HubError:
        raise
    except Exception as error:
        failed = hub_error(error, repo, revision="main", writing=True)
        again = "; push again: large files that arrived are not sent twice" if failed.passing else ""
        raise HubError(f"{failed}{again}", failed.code, passing=failed.passing) from error
