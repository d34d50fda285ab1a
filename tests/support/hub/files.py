"""The small Hub's answers about files: trees, commits, LFS and downloads."""

import base64
import json
import re
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs

from tests.support.hub.access import READ_TOKEN, TOKEN, commit_of, may_read, may_write
from tests.support.hub.http import Answer, Asked, HubRefusal, told
from tests.support.hub.store import by_lfs, etag, file_entry, sha256, tree

if TYPE_CHECKING:
    from tests.support.hub.server import HubServer


def list_tree(hub: "HubServer", asked: Asked, kind: str, name: str, ref: str, below: str) -> Answer:
    repo = may_read(hub, asked, kind, name)
    deep = asked.query.get("recursive", "").lower() in ("true", "1")
    found = tree(repo.commits[commit_of(repo, ref)], below, recursive=deep)
    if below and not found:
        raise HubRefusal(404, "EntryNotFound", f"{below} does not exist on {ref}")
    return told(found)


def paths_info(hub: "HubServer", asked: Asked, kind: str, name: str, ref: str) -> Answer:
    repo = may_read(hub, asked, kind, name)
    as_json = "json" in asked.headers.get("content-type", "")
    paths = asked.json()["paths"] if as_json else parse_qs(asked.body.decode()).get("paths", [])
    files = repo.commits[commit_of(repo, ref)]
    return told([file_entry(path, files[path]) for path in paths if path in files])


def preupload(hub: "HubServer", asked: Asked, kind: str, name: str, ref: str) -> Answer:
    repo = may_write(hub, asked, kind, name)
    there = repo.commits[commit_of(repo, ref)]
    modes = []
    for file in asked.json()["files"]:
        path, old = file["path"], there.get(file["path"])
        mode = "lfs" if by_lfs(path, file["size"]) else "regular"
        oid = etag(path, old) if old is not None else None
        modes.append({"path": path, "uploadMode": mode, "shouldIgnore": False, "oid": oid})
    return told({"files": modes})


def commit(hub: "HubServer", asked: Asked, kind: str, name: str, ref: str) -> Answer:
    repo = may_write(hub, asked, kind, name)
    head = commit_of(repo, ref)
    try:
        header, *steps = [json.loads(line) for line in asked.body.splitlines() if line.strip()]
    except ValueError:
        raise HubRefusal(400, "BadRequest", "the commit is not ndjson") from None
    if header["value"].get("parentCommit") not in (None, head):
        raise HubRefusal(412, "", "A commit has happened since. Please refresh and try again.")
    files = dict(repo.commits[head])
    for step in steps:
        files = _after(hub, files, step["key"], step["value"])
    sha = repo.commit(files, ref, header["value"]["summary"], header["value"].get("description", ""))
    hub.announce(kind, name, f"refs/heads/{ref}", head, sha)
    url = f"{hub.url}/{'' if kind == 'models' else kind + '/'}{name}/commit/{sha}"
    return told({"success": True, "commitOid": sha, "commitUrl": url, "hookOutput": ""})


def _after(hub: "HubServer", files: dict[str, bytes], step: str, value: dict[str, Any]) -> dict[str, bytes]:
    """The files after one line of a commit."""
    path = value["path"]
    if step == "file":
        return {**files, path: base64.b64decode(value["content"])}
    if step == "lfsFile":
        if value["oid"] not in hub.objects:
            raise HubRefusal(400, "BadRequest", f"LFS pointer to a missing object {value['oid']}")
        return {**files, path: hub.objects[value["oid"]]}
    if step == "deletedFile":
        if path not in files:
            raise HubRefusal(404, "EntryNotFound", "A file with this name doesn't exist")
        return {p: data for p, data in files.items() if p != path}
    if step == "deletedFolder":
        return {p: data for p, data in files.items() if not p.startswith(f"{path.rstrip('/')}/")}
    raise HubRefusal(400, "BadRequest", f"unknown operation {step}")


def lfs_batch(hub: "HubServer", asked: Asked, kind: str, name: str) -> Answer:
    """Where to put each object; no place for those that are here already."""
    may_write(hub, asked, kind or "models", name)
    objects = []
    for thing in asked.json()["objects"]:
        here = thing["oid"] in hub.objects
        upload = {"actions": {"upload": {"href": f"{hub.url}/_lfs/{thing['oid']}"}}}
        objects.append(thing if here else {**thing, **upload})
    return told({"transfer": "basic", "objects": objects})


def lfs_put(hub: "HubServer", asked: Asked, oid: str) -> Answer:
    if sha256(asked.body) != oid:
        raise HubRefusal(422, "", "sha256 mismatch")
    hub.objects[oid] = asked.body
    return Answer()


def resolve(hub: "HubServer", asked: Asked, kind: str, name: str, ref: str, path: str) -> Answer:
    """A file, whole or from the byte on that the client asks for."""
    repo = may_read(hub, asked, kind or "models", name)
    sha = commit_of(repo, ref)
    if repo.gated and asked.token not in (TOKEN, READ_TOKEN):
        raise HubRefusal(403, "GatedRepo", f"Access to {name} is restricted")
    data = repo.commits[sha].get(path)
    if data is None:
        raise HubRefusal(404, "EntryNotFound", f"Entry not found: {path}")
    tag = f'"{etag(path, data)}"'
    headers = {"X-Repo-Commit": sha, "ETag": tag, "Accept-Ranges": "bytes", "Content-Type": "application/octet-stream"}
    if by_lfs(path, len(data)):
        headers |= {"X-Linked-Etag": tag, "X-Linked-Size": str(len(data))}
    wanted = re.fullmatch(r"bytes=(\d+)-(\d*)", asked.headers.get("range", ""))
    if not wanted:
        return Answer(200, data, headers)
    first, last = int(wanted[1]), min(int(wanted[2] or len(data)), len(data) - 1)
    if first > last:
        return Answer(416, b"", {**headers, "Content-Range": f"bytes */{len(data)}"})
    return Answer(206, data[first : last + 1], {**headers, "Content-Range": f"bytes {first}-{last}/{len(data)}"})
