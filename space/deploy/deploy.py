"""Creates or updates a Space on the Hub: `understudy space deploy ORG/SPACE --endpoint URL`.

Only files that differ are sent, in one commit. Files of an earlier deploy that this one has not are removed; files that
people added to the Space stay. Secrets go to the Space's secrets and into no file.
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
"""Lists, in the Space's repository, the files of the last deploy, so that the next one knows what to remove."""
REACHABLE_PORTS = (80, 443, 8080)
"""Ports that a Space can connect to (https://huggingface.co/docs/hub/spaces-overview#networking)."""


@dataclass(frozen=True)
class Values:
    """The environment of the Space."""

    variables: Mapping[str, str] = field(default_factory=dict)
    """Public."""
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
    """The hardware that is requested; empty when the Space has it already."""
    commit: str = ""
    """Empty when no file differs, and in a dry run."""

    @property
    def differs(self) -> bool:
        return bool(self.added or self.changed or self.removed)


def require_endpoint(url: str, *, private: bool) -> str:
    """The gateway's address as a Space can use it, without /v1 and a slash at the end.

    Raises:
        DeployError: a Space cannot reach it, or it would make a key or conversations readable.
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
    if _is_local(host):
        raise DeployError(f"endpoint {url}: a Space cannot reach {host}; give an address on the internet")
    if port not in REACHABLE_PORTS:
        raise DeployError(f"endpoint {url}: Spaces reach only the ports 80, 443 and 8080, not {port}")
    if parts.scheme == "http" and not private:
        raise DeployError(f"endpoint {url}: a public Space needs https, or everybody's words travel in the open")
    return url.rstrip("/").removesuffix("/v1")


def _is_local(host: str) -> bool:
    """Whether a host name or address has a meaning only on this machine or network."""
    try:
        return not ipaddress.ip_address(host).is_global
    except ValueError:
        return host == "localhost" or "." not in host or host.endswith((".local", ".internal", ".localhost"))


def deploy(api: "HfApi", spec: SpaceSpec, values: Values, *, private: bool, dry_run: bool = False) -> DeployResult:
    """Creates the Space or updates it to `spec` and `values`; with `dry_run` nothing is sent.

    Raises:
        DeployError: the spec cannot be deployed, or the Hub refuses; the message says what to do.
    """
    local = files(spec)
    local[MANIFEST] = json.dumps({"files": sorted(local)}, indent=1).encode() + b"\n"
    try:
        remote = _space_info(api, spec.repo)
        outcome = _compare(api, spec, values, local, remote)
        if dry_run:
            return outcome
        if remote is None:
            _create(api, spec, values, private=private)
        else:
            _adjust(api, spec, values, outcome, private=private and not remote.private)
        return replace(outcome, commit=_commit(api, spec.repo, local, outcome)) if outcome.differs else outcome
    except DeployError:
        raise
    except Exception as error:  # the client's transport has errors of its own, and they change with its version
        raise DeployError(f"Space {spec.repo}: {hub_failure(error, writing=True).sentence}") from error


def _space_info(api: "HfApi", repo: str) -> Any:
    """The Hub's record of the Space; None when there is none."""
    from huggingface_hub.errors import RepositoryNotFoundError

    try:
        return api.space_info(repo, files_metadata=True)
    except RepositoryNotFoundError as error:
        if getattr(error.response, "status_code", None) == 404 or api.whoami():
            return None
        raise


def _compare(api: "HfApi", spec: SpaceSpec, values: Values, local: Mapping[str, bytes], remote: Any) -> DeployResult:
    found = {file.rfilename: file for file in (remote.siblings or [])} if remote else {}
    before = _manifest(api, spec.repo) if MANIFEST in found else set()
    known = api.get_space_variables(spec.repo) if remote else {}
    set_now = {key for key, value in values.variables.items() if key not in known or known[key].value != value}
    hardware = spec.hardware
    if remote and hardware:
        runtime = api.get_space_runtime(spec.repo)
        hardware = "" if hardware in (runtime.requested_hardware, runtime.hardware) else hardware
    return DeployResult(
        url=f"{api.endpoint}/spaces/{spec.repo}",
        created=remote is None,
        added=tuple(sorted(local.keys() - found.keys())),
        changed=tuple(sorted(path for path in local.keys() & found.keys() if not _same(local[path], found[path]))),
        removed=tuple(sorted((before & found.keys()) - local.keys())),
        variables=tuple(sorted(set_now)),
        secrets=tuple(sorted(values.secrets)),
        hardware=hardware,
    )


def _manifest(api: "HfApi", repo: str) -> set[str]:
    """Paths of the last deploy; empty if the list cannot be read."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(api.hf_hub_download(repo, MANIFEST, repo_type="space", local_dir=folder))
        try:
            return {str(path) for path in json.loads(path.read_bytes())["files"]}
        except (ValueError, KeyError, TypeError):
            return set()


def _same(content: bytes, file: Any) -> bool:
    """Whether the Hub has the same content: by its git object id, or by the SHA-256 of a large file."""
    if file.lfs is not None:
        return hashlib.sha256(content).hexdigest() == file.lfs.sha256
    return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest() == file.blob_id


def _create(api: "HfApi", spec: SpaceSpec, values: Values, *, private: bool) -> None:
    """Creates the Space with its variables and secrets, so that its first build has them."""
    api.create_repo(
        spec.repo,
        repo_type="space",
        space_sdk=spec.flavor if spec.flavor in ("docker", "static") else "gradio",
        space_hardware=spec.hardware or None,  # pyright: ignore[reportArgumentType] - names of new hardware, too
        space_secrets=[{"key": key, "value": value} for key, value in values.secrets.items()] or None,
        space_variables=[{"key": key, "value": value} for key, value in values.variables.items()] or None,
        private=private,
    )


def _adjust(api: "HfApi", spec: SpaceSpec, values: Values, outcome: DeployResult, *, private: bool) -> None:
    """Sets variables, secrets and hardware before the commit, so that its build has them.

    `private` closes a Space that is public.
    """
    if private:
        api.update_repo_settings(spec.repo, private=True, repo_type="space")
    for key in outcome.variables:
        api.add_space_variable(spec.repo, key, values.variables[key])
    for key, value in values.secrets.items():
        api.add_space_secret(spec.repo, key, value)
    if outcome.hardware:
        api.request_space_hardware(spec.repo, outcome.hardware)  # pyright: ignore[reportArgumentType]


def _commit(api: "HfApi", repo: str, local: Mapping[str, bytes], outcome: DeployResult) -> str:
    from huggingface_hub import CommitOperationAdd, CommitOperationDelete

    operations = [
        *(CommitOperationAdd(path, local[path]) for path in (*outcome.added, *outcome.changed)),
        *(CommitOperationDelete(path) for path in outcome.removed),
    ]
    message = "Deploy Understudy" if outcome.created else "Update Understudy"
    return str(api.create_commit(repo, operations, commit_message=message, repo_type="space").oid)
