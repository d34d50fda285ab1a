"""Makes or updates a Space on the Hub: `understudy space deploy ORG/SPACE --endpoint URL`.

Only what differs is sent, in one commit; nothing differs, no commit. What an earlier deploy sent and this one does not
is removed; files that people added to the Space stay. Secrets go to the Space's secrets and into no file.
"""

import hashlib
import ipaddress
import json
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from space.deploy.files import SpaceSpec, files
from understudy.errors import DeployError
from understudy.hub_errors import hub_failure

if TYPE_CHECKING:
    from huggingface_hub import HfApi

MANIFEST = ".understudy.json"
"""In the Space's repository: what the last deploy put there, so that the next one knows what to remove."""
REACHABLE = (80, 443, 8080)
"""The ports that a Space can connect to (https://huggingface.co/docs/hub/spaces-overview#networking)."""


@dataclass(frozen=True)
class Values:
    """What the Space finds in its environment."""

    variables: Mapping[str, str] = field(default_factory=dict)
    """Anybody may read them."""
    secrets: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class DeployResult:
    """What a deploy did, or with `dry_run` would do."""

    url: str
    created: bool
    added: tuple[str, ...]
    changed: tuple[str, ...]
    removed: tuple[str, ...]
    variables: tuple[str, ...]
    """Names of those that are set."""
    secrets: tuple[str, ...]
    """Names of those that are set; the Hub never tells their values, so they are set each time."""
    hardware: str = ""
    """What was asked for, if that is news."""
    commit: str = ""
    """Empty when no file differs, and in a dry run."""

    @property
    def differs(self) -> bool:
        return bool(self.added or self.changed or self.removed)


def require_endpoint(url: str, *, private: bool) -> str:
    """The gateway's address as a Space can use it, without /v1 and a slash at the end.

    Raises:
        DeployError: a Space could not reach it, or everybody could read what it says or carries.
    """
    parts = urlsplit(url)
    host = parts.hostname or ""
    try:
        port = parts.port or {"http": 80, "https": 443}.get(parts.scheme, 0)
    except ValueError:
        raise DeployError(f"endpoint {url}: its port is no port") from None
    if parts.scheme not in ("http", "https") or not host or parts.query or parts.fragment:
        raise DeployError(f"endpoint {url!r}: write an address such as https://models.example.org")
    if parts.username or parts.password:
        raise DeployError(f"endpoint at {host}: an address is public on a Space; give the key as UNDERSTUDY_API_KEY")
    if _at_home(host):
        raise DeployError(f"endpoint {url}: a Space cannot reach {host}; give an address on the internet")
    if port not in REACHABLE:
        raise DeployError(f"endpoint {url}: Spaces reach only the ports 80, 443 and 8080, not {port}")
    if parts.scheme == "http" and not private:
        raise DeployError(f"endpoint {url}: a public Space needs https, or everybody's words travel in the open")
    return url.rstrip("/").removesuffix("/v1")


def _at_home(host: str) -> bool:
    """Whether a name or number means only something on this machine or network."""
    try:
        return not ipaddress.ip_address(host).is_global
    except ValueError:
        return host == "localhost" or "." not in host or host.endswith((".local", ".internal", ".localhost"))


def deploy(api: "HfApi", wish: SpaceSpec, values: Values, *, private: bool, dry_run: bool = False) -> DeployResult:
    """Brings the Space to what `wish` and `values` say; with `dry_run` nothing is sent.

    Raises:
        DeployError: the wish cannot be fulfilled, or the Hub does not do it; the message says what to do.
    """
    ours = files(wish)
    ours[MANIFEST] = json.dumps({"files": sorted(ours)}, indent=1).encode() + b"\n"
    try:
        there = _there(api, wish.repo)
        outcome = _compare(api, wish, values, ours, there)
        if dry_run:
            return outcome
        if there is None:
            _create(api, wish, values, private=private)
        else:
            _adjust(api, wish, values, outcome, private=private and not there.private)
        return replace(outcome, commit=_commit(api, wish.repo, ours, outcome)) if outcome.differs else outcome
    except DeployError:
        raise
    except Exception as error:  # the client's transport has errors of its own, and they change with its version
        raise DeployError(f"Space {wish.repo}: {hub_failure(error, writing=True).sentence}") from error


def _there(api: "HfApi", repo: str) -> Any:
    """What the Hub says of the Space; None when there is none."""
    from huggingface_hub.errors import RepositoryNotFoundError

    try:
        return api.space_info(repo, files_metadata=True)
    except RepositoryNotFoundError as error:
        if getattr(error.response, "status_code", None) == 404 or api.whoami():
            return None
        raise


def _compare(api: "HfApi", wish: SpaceSpec, values: Values, ours: Mapping[str, bytes], there: Any) -> DeployResult:
    theirs = {file.rfilename: file for file in (there.siblings or [])} if there else {}
    before = _manifest(api, wish.repo) if MANIFEST in theirs else set()
    known = api.get_space_variables(wish.repo) if there else {}
    set_now = {key for key, value in values.variables.items() if key not in known or known[key].value != value}
    hardware = wish.hardware
    if there and hardware:
        runtime = api.get_space_runtime(wish.repo)
        hardware = "" if hardware in (runtime.requested_hardware, runtime.hardware) else hardware
    return DeployResult(
        url=f"{api.endpoint}/spaces/{wish.repo}",
        created=there is None,
        added=tuple(sorted(ours.keys() - theirs.keys())),
        changed=tuple(sorted(path for path in ours.keys() & theirs.keys() if not _same(ours[path], theirs[path]))),
        removed=tuple(sorted((before & theirs.keys()) - ours.keys())),
        variables=tuple(sorted(set_now)),
        secrets=tuple(sorted(values.secrets)),
        hardware=hardware,
    )


def _manifest(api: "HfApi", repo: str) -> set[str]:
    """Paths that the last deploy sent; none if somebody broke the list."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(api.hf_hub_download(repo, MANIFEST, repo_type="space", local_dir=folder))
        try:
            return {str(path) for path in json.loads(path.read_bytes())["files"]}
        except (ValueError, KeyError, TypeError):
            return set()


def _same(content: bytes, file: Any) -> bool:
    """Whether the Hub has this very content: by git's name of it, or the SHA-256 of large files."""
    if file.lfs is not None:
        return hashlib.sha256(content).hexdigest() == file.lfs.sha256
    return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest() == file.blob_id


def _create(api: "HfApi", wish: SpaceSpec, values: Values, *, private: bool) -> None:
    """A new Space knows its variables and secrets before it is built for the first time."""
    api.create_repo(
        wish.repo,
        repo_type="space",
        space_sdk=wish.flavor,
        space_hardware=wish.hardware or None,  # pyright: ignore[reportArgumentType] - names of new hardware, too
        space_secrets=[{"key": key, "value": value} for key, value in values.secrets.items()] or None,
        space_variables=[{"key": key, "value": value} for key, value in values.variables.items()] or None,
        private=private,
    )


def _adjust(api: "HfApi", wish: SpaceSpec, values: Values, outcome: DeployResult, *, private: bool) -> None:
    """Before the commit, so that what is built from it finds them; `private` closes a Space that is public."""
    if private:
        api.update_repo_settings(wish.repo, private=True, repo_type="space")
    for key in outcome.variables:
        api.add_space_variable(wish.repo, key, values.variables[key])
    for key, value in values.secrets.items():
        api.add_space_secret(wish.repo, key, value)
    if outcome.hardware:
        api.request_space_hardware(wish.repo, outcome.hardware)  # pyright: ignore[reportArgumentType]


def _commit(api: "HfApi", repo: str, ours: Mapping[str, bytes], outcome: DeployResult) -> str:
    from huggingface_hub import CommitOperationAdd, CommitOperationDelete

    operations = [
        *(CommitOperationAdd(path, ours[path]) for path in (*outcome.added, *outcome.changed)),
        *(CommitOperationDelete(path) for path in outcome.removed),
    ]
    message = "Deploy Understudy" if outcome.created else "Update Understudy"
    return str(api.create_commit(repo, operations, commit_message=message, repo_type="space").oid)
