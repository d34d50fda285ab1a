"""What the small Hub answers: one function a route, from a request and the repositories to an answer.

Those about files are in hub_files.
"""

import re
from collections.abc import Callable
from typing import TYPE_CHECKING
from urllib.parse import unquote

import yaml

from tests.support.hub.access import READ_TOKEN, TOKEN, USER, commit_of, may_read, may_write, require_right
from tests.support.hub.files import commit, lfs_batch, lfs_put, list_tree, paths_info, preupload, resolve
from tests.support.hub.http import Answer, Asked, HubRefusal, told
from tests.support.hub.spaces import space_trouble
from tests.support.hub.store import Space, info, new_repo, refs

if TYPE_CHECKING:
    from tests.support.hub.server import HubServer


def respond(hub: "HubServer", asked: Asked) -> Answer:
    """The answer to one request; 404 for what the Hub does not know."""
    for method, pattern, handle in ROUTES:
        if method == asked.method.replace("HEAD", "GET") and (match := pattern.fullmatch(asked.path)):
            try:
                with hub.lock:
                    return handle(hub, asked, **{key: unquote(value) for key, value in match.groupdict("").items()})
            except HubRefusal as refusal:
                return refusal.answer
    return told({"error": "Not found"}, 404)


def whoami(hub: "HubServer", asked: Asked) -> Answer:
    if asked.token not in (TOKEN, READ_TOKEN):
        raise HubRefusal(401, "", "Invalid credentials in Authorization header")
    role = "write" if asked.token == TOKEN else "read"
    auth = {"type": "access_token", "accessToken": {"displayName": "local", "role": role}}
    user = {"type": "user", "id": "0", "name": USER, "fullname": USER, "avatarUrl": "/a.svg", "orgs": []}
    return told(user | {"auth": auth})


def validate_yaml(hub: "HubServer", asked: Asked) -> Answer:
    front = re.match(r"---\s*\n(.*?)\n---", asked.json()["content"], re.DOTALL)
    try:
        found = yaml.safe_load(front[1]) if front else None
        wrong = None if front is None or isinstance(found, dict) else "the front matter is no mapping"
        if isinstance(found, dict) and asked.json().get("repoType") == "space":
            wrong = space_trouble(found)
    except yaml.YAMLError as error:
        wrong = str(error)
    if wrong:
        return told({"errors": [{"message": wrong}], "warnings": []}, 400)
    return told({"errors": [], "warnings": [] if front else [{"message": "empty or missing yaml metadata"}]})


def create(hub: "HubServer", asked: Asked) -> Answer:
    wish = asked.json()
    kind, name = f"{wish.get('type') or 'model'}s", f"{wish.get('organization') or USER}/{wish['name']}"
    require_right(hub, asked, name)
    url = f"{hub.url}/{'' if kind == 'models' else kind + '/'}{name}"
    if name in hub.shelf(kind):
        return told({"error": "You already created this repo", "url": url}, 409)
    hub.shelf(kind)[name] = new_repo(kind, wish)
    return told({"url": url, "name": name, "id": name})


def delete(hub: "HubServer", asked: Asked) -> Answer:
    wish = asked.json()
    kind, name = f"{wish.get('type') or 'model'}s", f"{wish.get('organization') or USER}/{wish['name']}"
    may_write(hub, asked, kind, name)
    del hub.shelf(kind)[name]
    return told({})


def listing(hub: "HubServer", asked: Asked, kind: str) -> Answer:
    found = []
    for name, repo in hub.shelf(kind).items():
        shown = not repo.private or asked.token in (TOKEN, READ_TOKEN)
        author = asked.query.get("author", "")
        if shown and asked.query.get("search", "") in name and (not author or name.startswith(f"{author}/")):
            found.append(info(kind, name, repo, repo.refs["main"]))
    return told(found[: int(asked.query.get("limit", "100"))])


def describe(hub: "HubServer", asked: Asked, kind: str, name: str, ref: str) -> Answer:
    repo = may_read(hub, asked, kind, name)
    return told(info(kind, name, repo, commit_of(repo, ref or "main")))


def list_refs(hub: "HubServer", asked: Asked, kind: str, name: str) -> Answer:
    return told(refs(may_read(hub, asked, kind, name)))


def list_commits(hub: "HubServer", asked: Asked, kind: str, name: str, ref: str) -> Answer:
    repo = may_read(hub, asked, kind, name)
    lines = []
    for sha in repo.history(commit_of(repo, ref)):
        entry = repo.log[sha]
        lines.append({"id": sha, "title": entry.title, "message": entry.message, "date": entry.at})
        lines[-1]["authors"] = [{"user": USER}]
    return told(lines)


def add_ref(hub: "HubServer", asked: Asked, kind: str, name: str, what: str, ref: str) -> Answer:
    repo, wish = may_write(hub, asked, kind, name), asked.json()
    new, start = (wish["tag"], ref) if what == "tag" else (ref, wish.get("startingPoint") or "main")
    if new in repo.refs:
        raise HubRefusal(409, "", f"Reference refs/{what}s/{new} exists already")
    repo.refs[new] = commit_of(repo, start)
    if what == "tag":
        repo.tags.add(new)
    hub.announce(kind, name, f"refs/{'tags' if what == 'tag' else 'heads'}/{new}", None, repo.refs[new])
    return told({})


def drop_ref(hub: "HubServer", asked: Asked, kind: str, name: str, what: str, ref: str) -> Answer:
    repo = may_write(hub, asked, kind, name)
    if ref not in repo.refs or (ref in repo.tags) is not (what == "tag"):
        raise HubRefusal(404, "RevisionNotFound", f"no {what} {ref}")
    del repo.refs[ref]
    repo.tags.discard(ref)
    return told({})


def settings(hub: "HubServer", asked: Asked, kind: str, name: str) -> Answer:
    repo, wish = may_write(hub, asked, kind, name), asked.json()
    repo.gated = bool(wish.get("gated", repo.gated))
    repo.private = wish["visibility"] == "private" if "visibility" in wish else bool(wish.get("private", repo.private))
    return told({"private": repo.private, "gated": "auto" if repo.gated else False})


def _space(hub: "HubServer", asked: Asked, name: str) -> Space:
    repo = may_write(hub, asked, "spaces", name)
    assert isinstance(repo, Space), f"{name} in HubServer.spaces is no Space"
    return repo


def space_values(hub: "HubServer", asked: Asked, name: str, what: str) -> Answer:
    """Secrets and variables: all, one more, or one fewer. A secret's value is never told."""
    space = _space(hub, asked, name)
    values = space.secrets if what == "secrets" else space.variables
    if asked.method == "POST":
        values[asked.json()["key"]] = asked.json()["value"]
    elif asked.method == "DELETE":
        values.pop(asked.json()["key"], None)
    return told({key: {"key": key} | ({"value": v} if what == "variables" else {}) for key, v in values.items()})


def space_runtime(hub: "HubServer", asked: Asked, name: str, what: str) -> Answer:
    """How a Space runs, and what changes it: hardware, sleep time, pause and restart."""
    if what == "runtime" and asked.method == "GET":
        repo = may_read(hub, asked, "spaces", name)
        return told(repo.runtime() if isinstance(repo, Space) else {})
    space, wish = _space(hub, asked, name), asked.json()
    if what == "hardware":
        space.hardware = wish["flavor"]
        space.sleep_seconds = wish.get("sleepTimeSeconds", space.sleep_seconds)
    elif what == "sleeptime":
        space.sleep_seconds = wish["seconds"]
    elif what == "pause":
        space.stage = "PAUSED"
    elif what == "restart":
        space.stage, space.restarts = "RUNNING", space.restarts + 1
    return told(space.runtime())


Handler = Callable[..., Answer]
KIND, NAME, REF = r"(?P<kind>models|datasets|spaces)", r"(?P<name>[^/]+/[^/]+)", r"(?P<ref>[^/]+)"
REPO, FILES = rf"/api/{KIND}/{NAME}", rf"(?:/(?P<kind>datasets|spaces))?/{NAME}"
SPACE = r"/api/spaces/(?P<name>[^/]+/[^/]+)"
ROUTES: list[tuple[str, re.Pattern[str], Handler]] = [
    (method, re.compile(pattern), handle)
    for method, pattern, handle in (
        ("GET", r"/api/whoami-v2", whoami),
        ("POST", r"/api/validate-yaml", validate_yaml),
        ("POST", r"/api/repos/create", create),
        ("DELETE", r"/api/repos/delete", delete),
        ("GET", rf"/api/{KIND}", listing),
        ("GET", rf"{REPO}(?:/revision/{REF})?", describe),
        ("GET", rf"{REPO}/refs", list_refs),
        ("GET", rf"{REPO}/commits/{REF}", list_commits),
        ("GET", rf"{REPO}/tree/{REF}(?:/(?P<below>.+))?", list_tree),
        ("POST", rf"{REPO}/paths-info/{REF}", paths_info),
        ("POST", rf"{REPO}/preupload/{REF}", preupload),
        ("POST", rf"{REPO}/commit/{REF}", commit),
        ("POST", rf"{REPO}/(?P<what>tag|branch)/{REF}", add_ref),
        ("DELETE", rf"{REPO}/(?P<what>tag|branch)/{REF}", drop_ref),
        ("PUT", rf"{REPO}/settings", settings),
        *((method, rf"{SPACE}/(?P<what>secrets|variables)", space_values) for method in ("GET", "POST", "DELETE")),
        ("GET", rf"{SPACE}/(?P<what>runtime)", space_runtime),
        ("POST", rf"{SPACE}/(?P<what>hardware|sleeptime|pause|restart)", space_runtime),
        ("POST", rf"{FILES}\.git/info/lfs/objects/batch", lfs_batch),
        ("PUT", r"/_lfs/(?P<oid>[0-9a-f]{64})", lfs_put),
        ("GET", rf"{FILES}/resolve/{REF}/(?P<path>.+)", resolve),
    )
]
