"""What the small Hub keeps: repositories with commits, branches and tags, and how the Hub's API describes them."""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

LFS_BYTES = 10 * 2**20
"""From this size on, any file goes by LFS."""

LFS_ENDINGS = (".safetensors", ".bin", ".pt", ".gguf", ".parquet", ".ckpt", ".pkl", ".zip", ".gz", ".onnx", ".arrow")

GIT_ATTRIBUTES = {".gitattributes": "".join(f"*{end} filter=lfs diff=lfs merge=lfs -text\n" for end in LFS_ENDINGS)}
"""What the Hub puts into a new repository."""


@dataclass(frozen=True)
class Entry:
    """A line of a repository's log."""

    parent: str | None
    title: str
    message: str
    at: str
    """Time of the commit, ISO 8601 in UTC."""


@dataclass
class Repo:
    """A model or data set repository: commit to its files, and the names that point at commits."""

    private: bool = False
    gated: bool = False
    commits: dict[str, dict[str, bytes]] = field(default_factory=dict)
    refs: dict[str, str] = field(default_factory=dict)
    """Branches and tags."""
    tags: set[str] = field(default_factory=set)
    """Those of `refs` that are tags; all others are branches."""
    log: dict[str, Entry] = field(default_factory=dict)

    def commit(self, files: dict[str, bytes], ref: str = "main", title: str = "commit", message: str = "") -> str:
        """Adds a commit with exactly these files, moves `ref` there, and returns its id."""
        parent = self.refs.get(ref)
        seed = repr((parent, sorted(files.items()), title)) + str(len(self.commits))
        sha = hashlib.sha1(seed.encode()).hexdigest()
        at = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%f")[:-3] + "Z"
        self.commits[sha], self.refs[ref] = files, sha
        self.log[sha] = Entry(parent, title, message, at)
        return sha

    def commit_folder(self, folder: Path, ref: str = "main", **more: bytes) -> str:
        """Adds the files of a folder, those in folders below too, and `more`, as a commit."""
        found = {p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*") if p.is_file()}
        return self.commit(found | more, ref)

    def files(self, ref: str = "main") -> dict[str, bytes]:
        """The files that a branch, a tag or a commit names."""
        return self.commits[self.refs.get(ref, ref)]

    def history(self, sha: str) -> Iterator[str]:
        """`sha`, its parent, and so on."""
        here: str | None = sha
        while here is not None:
            yield here
            here = self.log[here].parent if here in self.log else None


@dataclass
class Space(Repo):
    """A Space: a repository that runs."""

    sdk: str = "gradio"
    secrets: dict[str, str] = field(default_factory=dict)
    variables: dict[str, str] = field(default_factory=dict)
    stage: str = "RUNNING"
    """Or `BUILDING`, `SLEEPING`, `PAUSED`, `RUNTIME_ERROR`, …: a test sets what it needs."""
    hardware: str = "cpu-basic"
    sleep_seconds: int | None = None
    restarts: int = 0

    def runtime(self) -> dict[str, Any]:
        hardware = {"current": self.hardware, "requested": self.hardware}
        return {"stage": self.stage, "hardware": hardware, "gcTimeout": self.sleep_seconds, "storage": None}


def new_repo(kind: str, wish: dict[str, Any]) -> Repo:
    """What `create_repo` asked for, with the Hub's first commit in it."""
    private = bool(wish.get("private")) or wish.get("visibility") == "private"
    repo = Repo(private=private)
    if kind == "spaces":
        repo = Space(private=private, sdk=wish["sdk"], sleep_seconds=wish.get("sleepTimeSeconds"))
        repo.hardware = wish.get("hardware") or repo.hardware
        repo.secrets |= {given["key"]: given["value"] for given in wish.get("secrets") or []}
        repo.variables |= {given["key"]: given["value"] for given in wish.get("variables") or []}
    repo.commit({name: text.encode() for name, text in GIT_ATTRIBUTES.items()}, title="initial commit")
    return repo


def by_lfs(path: str, size: int) -> bool:
    """Whether the Hub takes this file by LFS rather than in the commit itself."""
    return size >= LFS_BYTES or path.endswith(LFS_ENDINGS)


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def git_id(data: bytes) -> str:
    """The name that git gives to a blob."""
    return hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()


def etag(path: str, data: bytes) -> str:
    """What the Hub's client compares contents by: the SHA-256 of an LFS file, git's name of any other."""
    return sha256(data) if by_lfs(path, len(data)) else git_id(data)


def info(kind: str, name: str, repo: Repo, sha: str) -> dict[str, Any]:
    """The answer to `repo_info`."""
    files, log = repo.commits[sha], repo.log.get(sha)
    siblings = [
        {"rfilename": path, "size": len(data), "blobId": git_id(data)} | _lfs(path, data, "sha256")
        for path, data in sorted(files.items())
    ]
    facts = {"_id": object_id(name), "id": name, "author": name.split("/")[0], "sha": sha, "private": repo.private}
    facts |= {"gated": "auto" if repo.gated else False, "disabled": False, "downloads": 0, "likes": 0, "tags": []}
    if kind == "models":
        facts["modelId"] = name
    if isinstance(repo, Space):
        facts |= {"sdk": repo.sdk, "runtime": repo.runtime()}
    if log:
        facts |= {"createdAt": log.at, "lastModified": log.at}
    return {**facts, "siblings": siblings}


def object_id(name: str) -> str:
    """24 hex digits, as the Hub numbers what it keeps."""
    return hashlib.md5(name.encode()).hexdigest()[:24]


def file_entry(path: str, data: bytes) -> dict[str, Any]:
    """A file as `tree` and `paths-info` tell it."""
    return {"type": "file", "path": path, "size": len(data), "oid": git_id(data)} | _lfs(path, data, "oid")


def tree(files: dict[str, bytes], below: str, *, recursive: bool) -> list[dict[str, Any]]:
    """The files and folders in the folder `below` (empty for the whole repository)."""
    prefix = f"{below.strip('/')}/" if below.strip("/") else ""
    found: dict[str, dict[str, Any]] = {}
    for path, data in sorted(files.items()):
        if not path.startswith(prefix):
            continue
        parts = path[len(prefix) :].split("/")
        for depth in range(1, len(parts) if recursive else min(2, len(parts))):
            folder = prefix + "/".join(parts[:depth])
            found[folder] = {"type": "directory", "path": folder, "size": 0, "oid": git_id(folder.encode())}
        if recursive or len(parts) == 1:
            found[path] = file_entry(path, data)
    return list(found.values())


def refs(repo: Repo) -> dict[str, Any]:
    """The answer to `list_repo_refs`."""

    def told(kind: str, names: list[str]) -> list[dict[str, str]]:
        return [{"name": n, "ref": f"refs/{kind}/{n}", "targetCommit": repo.refs[n]} for n in names]

    branches = [name for name in repo.refs if name not in repo.tags]
    named = {"branches": told("heads", branches), "tags": told("tags", sorted(repo.tags))}
    return {**named, "converts": [], "pullRequests": []}


def _lfs(path: str, data: bytes, name: str) -> dict[str, Any]:
    if not by_lfs(path, len(data)):
        return {}
    return {"lfs": {name: sha256(data), "size": len(data), "pointerSize": 134}}
