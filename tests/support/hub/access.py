"""Who may read and write what on the small Hub."""

from typing import TYPE_CHECKING

from tests.support.hub.http import Asked, HubRefusal
from tests.support.hub.store import Repo

if TYPE_CHECKING:
    from tests.support.hub.server import HubServer

TOKEN = "hf_local"
"""May read and write everything but the namespaces in `HubServer.foreign`."""

READ_TOKEN = "hf_reader"
"""May read everything and write nothing."""

USER = "ann"
"""Whose tokens they are."""


def may_read(hub: "HubServer", asked: Asked, kind: str, name: str) -> Repo:
    """The repository, when this token may know of it."""
    repo = hub.shelf(kind).get(name)
    if repo is None or (repo.private and asked.token not in (TOKEN, READ_TOKEN)):
        raise HubRefusal(404 if asked.token else 401, "RepoNotFound", f"Repository not found: {name}")
    return repo


def may_write(hub: "HubServer", asked: Asked, kind: str, name: str) -> Repo:
    """The repository, when this token may write to it."""
    require_right(hub, asked, name)
    return may_read(hub, asked, kind, name)


def require_right(hub: "HubServer", asked: Asked, name: str) -> None:
    namespace = name.partition("/")[0]
    if asked.token not in (TOKEN, READ_TOKEN):
        raise HubRefusal(401, "", "Invalid username or password.")
    if asked.token == READ_TOKEN:
        raise HubRefusal(403, "", "you must use a write token to write to a repository")
    if namespace in hub.foreign:
        raise HubRefusal(403, "", f'You don\'t have the rights to write under the namespace "{namespace}"')


def commit_of(repo: Repo, ref: str) -> str:
    sha = repo.refs.get(ref, ref)
    if sha not in repo.commits:
        raise HubRefusal(404, "RevisionNotFound", f"Invalid rev id: {ref}")
    return sha
