"""A registry whose adapters all come from the Hub: files that were deleted are fetched again when they are needed."""

from pathlib import Path
from typing import Any

from sqlalchemy import Engine

from understudy.errors import AdapterError, NotFoundError
from understudy.registry.adapters import COMMIT, store_snapshot
from understudy.registry.hub import SOURCE, ResolvedRevision, fetch_adapter, forget_download
from understudy.registry.records import Revision
from understudy.registry.registry import Registry


def stored_commit(
    registry: Registry, persona: str, repo: str, wanted: ResolvedRevision, actor: str, endpoint: str = ""
) -> Revision:
    """Return the revision of a commit, fetched into the store if it is not there yet.

    Raises:
        AdapterError: it is no adapter, the Hub does not have it, or is in trouble.
    """
    try:
        revision = registry.revision(persona, wanted.commit)
        registry.path(revision)
        return revision
    except NotFoundError:
        pass
    snapshot, commit = fetch_adapter(repo, wanted.commit, endpoint=endpoint)
    where = f"{repo}@{wanted.name}"
    try:
        return registry.add_hub_revision(persona, snapshot, commit, source=f"{SOURCE}{where}", actor=actor)
    except AdapterError as error:  # people may read it who know nothing of this machine's folders
        raise AdapterError(str(error).replace(str(snapshot), where)) from error


class HubRegistry(Registry):
    """A registry with one copy of each adapter on the disk, in the store, or none."""

    def __init__(self, engine: Engine, store_dir: Path, endpoint: str = "") -> None:
        super().__init__(engine, store_dir)
        self.endpoint = endpoint

    def path(self, revision: Revision) -> Path:
        """Return the folder of that revision in the store; downloads it if its files are gone.

        Raises:
            NotFoundError: its files are gone, and it is none of the Hub.
            HubError: the Hub does not have it any more, or is in trouble.
        """
        try:
            return super().path(revision)
        except NotFoundError:
            if not (COMMIT.fullmatch(revision.id) and revision.source.startswith(SOURCE)):
                raise
        repo = revision.source.removeprefix(SOURCE).rpartition("@")[0]
        snapshot, commit = fetch_adapter(repo, revision.id, endpoint=self.endpoint)
        stored = store_snapshot(snapshot, commit, self.store_dir)
        forget_download(commit)
        return stored

    def add_hub_revision(self, persona: str, snapshot: Path, commit: str, **more: Any) -> Revision:
        """Store a commit as `Registry.add_hub_revision` does, and delete it from the cache of the Hub's client."""
        revision = super().add_hub_revision(persona, snapshot, commit, **more)
        forget_download(commit)
        return revision
