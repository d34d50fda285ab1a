"""A small Hub over real HTTP: models with commits, branches and tags, for the real huggingface_hub client.

Only what downloading needs. Give the client HF_ENDPOINT before it is imported: run it in a process of its own
with `HubServer.env`.
"""

import hashlib
import json
import threading
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

TOKEN = "hf_local"


@dataclass
class Repo:
    """One model repository: commit to its files, and the names that point at commits."""

    private: bool = False
    gated: bool = False
    commits: dict[str, dict[str, bytes]] = field(default_factory=dict)
    refs: dict[str, str] = field(default_factory=dict)

    def commit(self, files: dict[str, bytes], ref: str = "main") -> str:
        """Adds a commit, moves `ref` there, and returns its id."""
        seed = repr(sorted(files.items())) + str(len(self.commits))
        sha = hashlib.sha1(seed.encode()).hexdigest()
        self.commits[sha], self.refs[ref] = files, sha
        return sha

    def commit_folder(self, folder: Path, ref: str = "main", **more: bytes) -> str:
        """Adds the files of a folder, and `more`, as a commit."""
        return self.commit({p.name: p.read_bytes() for p in folder.iterdir()} | more, ref)


class HubServer:
    """`with HubServer() as hub:` then fill `hub.repos` and run a client with `hub.env(home)`."""

    def __init__(self) -> None:
        self.repos: dict[str, Repo] = {}
        self.asked: list[str] = []
        """Every request: `METHOD /path`."""
        hub = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                hub._answer(self, body=True)

            def do_HEAD(self) -> None:
                hub._answer(self, body=False)

            def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - named by the library
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}"

    def __enter__(self) -> "HubServer":
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()

    def env(self, home: Path, token: str = "") -> dict[str, str]:
        """What the client's environment must say."""
        names = {"HF_ENDPOINT": self.url, "HF_HUB_DISABLE_XET": "1", "HF_HOME": str(home), "HF_HUB_OFFLINE": "0"}
        return names | {"HF_TOKEN": token, "HF_HUB_DISABLE_TELEMETRY": "1"}

    def _answer(self, request: BaseHTTPRequestHandler, *, body: bool) -> None:
        path = unquote(urlsplit(request.path).path)
        self.asked.append(f"{request.command} {path}")
        token = (request.headers.get("authorization") or "").removeprefix("Bearer ")
        status, headers, data = self._look_up(path.strip("/").split("/"), token)
        request.send_response(status)
        for name, value in {**headers, "Content-Length": str(len(data))}.items():
            request.send_header(name, value)
        request.end_headers()
        if body:
            request.wfile.write(data)

    def _look_up(self, parts: list[str], token: str) -> tuple[int, dict[str, str], bytes]:
        api = parts[:2] == ["api", "models"]
        name = "/".join(parts[2:4] if api else parts[:2])
        repo = self.repos.get(name)
        if repo is None or (repo.private and token != TOKEN):
            return _error(401 if not token else 404, "RepoNotFound", f"Repository not found: {name}")
        rest = parts[4:] if api else parts[2:]
        kind, ref, *file = rest or ["revision", "main"]
        sha = repo.refs.get(ref, ref)
        if sha not in repo.commits:
            return _error(404, "RevisionNotFound", f"Invalid rev id: {ref}")
        if api:
            return _json(_info(name, repo, sha) if kind == "revision" else _tree(repo.commits[sha]))
        if repo.gated and token != TOKEN:
            return _error(403, "GatedRepo", f"Access to model {name} is restricted")
        data = repo.commits[sha].get("/".join(file))
        if data is None:
            return _error(404, "EntryNotFound", f"Entry not found: {'/'.join(file)}")
        return 200, {"X-Repo-Commit": sha, "ETag": f'"{_oid(data)}"', "Accept-Ranges": "bytes"}, data


def _info(name: str, repo: Repo, sha: str) -> dict[str, Any]:
    siblings = [
        {"rfilename": path, "size": len(data), "blobId": _oid(data)} for path, data in sorted(repo.commits[sha].items())
    ]
    return {"_id": "0" * 24, "id": name, "modelId": name, "sha": sha, "private": repo.private, "siblings": siblings}


def _tree(files: dict[str, bytes]) -> list[dict[str, Any]]:
    return [{"type": "file", "path": p, "size": len(d), "oid": _oid(d)} for p, d in sorted(files.items())]


def _oid(data: bytes) -> str:
    return hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()


def _json(value: object) -> tuple[int, dict[str, str], bytes]:
    return 200, {"Content-Type": "application/json"}, json.dumps(value).encode()


def _error(status: int, code: str, message: str) -> tuple[int, dict[str, str], bytes]:
    headers = {"X-Error-Code": code, "X-Error-Message": message, "Content-Type": "application/json"}
    return status, headers, b'{"error": "no"}'
