"""Keeps adapters that were asked for by their Hub id on disk, one folder a commit; finds them for other machines."""

import contextlib
import logging
import os
import re
import shutil
import threading
from collections.abc import Collection
from pathlib import Path

from understudy.config.recipe import NAME
from understudy.config.settings import Settings
from understudy.errors import AdapterError, NotFoundError
from understudy.registry.adapters import COMMIT, SHORT, read_config, short, store_snapshot
from understudy.registry.hub import MAX_BYTES, REPO, fetch_adapter
from understudy.registry.records import Revision
from understudy.registry.registry import open_registry
from understudy.registry.tables import now

log = logging.getLogger("understudy.on_demand")

SERVED_NAME = re.compile(rf"({NAME.strip('^$')}|{REPO.pattern})@([0-9a-f]{{{SHORT},64}})", re.ASCII)
"""`persona@revision` or `org/name@revision`. The part before the @ never becomes a path, the other is hex digits."""


def cache_folder(settings: Settings) -> Path:
    """Where a gateway keeps these adapters; the name is older than this module."""
    return settings.home / "guests"


class AdapterCache:
    """Folders on disk, bounded together. Every method blocks. Paths are made of commits, never of clients' names."""

    def __init__(self, folder: Path, max_bytes: int, endpoint: str) -> None:
        self._folder, self._max_bytes, self._endpoint = folder, max_bytes, endpoint

    def fetch(self, repo: str, commit: str) -> tuple[Revision, Path]:
        """Downloads the adapter of a commit unless it is here; returns it and its folder.

        A download that broke off leaves its files, and the next one continues with them.

        Raises:
            AdapterError, HubError: it cannot be fetched, or is not an adapter.
        """
        folder = self._of(commit)
        if not folder.is_dir():
            incoming = self._incoming(commit)
            most = min(MAX_BYTES, self._max_bytes)
            snapshot, _ = fetch_adapter(repo, commit, endpoint=self._endpoint, cache=incoming, max_bytes=most)
            store_snapshot(snapshot, commit, self._folder)
            shutil.rmtree(incoming, ignore_errors=True)
        os.utime(folder)
        return _revision(repo, commit, folder), folder

    def prune(self, kept: Collection[str]) -> None:
        """Deletes the longest unused folders until the rest fits, but none of the commits in `kept`."""
        with contextlib.suppress(FileNotFoundError):  # another one is just being deleted, or stored
            self._prune(kept)

    def _prune(self, kept: Collection[str]) -> None:
        folders = [p for p in self._folder.glob("*") if COMMIT.fullmatch(p.name)]
        folders += list(self._folder.glob(".downloads/*"))
        sizes = {p: sum(f.stat().st_size for f in p.rglob("*") if f.is_file() and not f.is_symlink()) for p in folders}
        total = sum(sizes.values())
        for path in sorted(folders, key=lambda p: p.stat().st_mtime):
            if total <= self._max_bytes:
                return
            if path.name not in kept:
                log.info("%s is deleted from the disk cache", path.name)
                shutil.rmtree(path, ignore_errors=True)
                total -= sizes[path]

    def _of(self, commit: str) -> Path:
        if not COMMIT.fullmatch(commit):
            raise ValueError(f"{commit!r:.80} is not a commit")
        return self._folder / commit

    def _incoming(self, commit: str) -> Path:
        folder = self._of(commit).parent / ".downloads" / commit
        folder.mkdir(parents=True, exist_ok=True)
        return folder


class AdapterFolders:
    """Finds the folder of a revision that an engine on another machine asks for by its immutable name."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._one = threading.Lock()

    def find(self, name: str) -> Path:
        """Returns the folder of `persona@revision`; blocks, and downloads a commit of the Hub that is not in the store.

        Raises:
            NotFoundError: no such revision here, in the registry, or on the Hub.
            AdapterError: that is not a served name, or the revision's digits fit several folders.
        """
        match = SERVED_NAME.fullmatch(name)
        if match is None:
            raise AdapterError(f"{name!r:.100} does not name an adapter; engines know them as persona@revision")
        here = self._here(match[2])
        if len(here) > 1:
            raise AdapterError(f"{name} fits {len(here)} folders; use more digits of the revision")
        if here:
            return here[0]
        with self._one:  # several requests may ask for the same one
            return (self._here(match[2]) or [self._fetch(match[1], match[2])])[0]

    def _here(self, revision: str) -> list[Path]:
        stores = (self._settings.store_dir, cache_folder(self._settings))
        found = {p.name: p for store in stores for p in store.glob(f"{revision}*") if p.is_dir()}
        return list(found.values())

    def _fetch(self, persona: str, revision: str) -> Path:
        if "/" in persona:
            return self._fetch_on_demand(persona, revision)
        registered = open_registry(self._settings).revision(persona, revision)
        repo = _repository(registered)
        if repo is None:
            raise NotFoundError(
                f"{registered.served_name} is neither in {self._settings.store_dir} nor on the Hub; "
                "is the store shared with the gateway's machine?"
            )
        snapshot, _ = fetch_adapter(repo, registered.id, endpoint=self._settings.hub_endpoint)
        return store_snapshot(snapshot, registered.id, self._settings.store_dir)

    def _fetch_on_demand(self, repo: str, commit: str) -> Path:
        if not COMMIT.fullmatch(commit):
            raise NotFoundError(f"{repo}@{short(commit)} is not in the store; from the Hub it needs all 40 digits")
        allowed = {name.strip() for name in self._settings.hub_orgs.split(",")}
        if repo not in allowed and repo.partition("/")[0] not in allowed:
            raise NotFoundError(f"{repo} is not allowed by UNDERSTUDY_HUB_ORGS")
        settings = self._settings
        cache = AdapterCache(cache_folder(settings), settings.hub_store_bytes, settings.hub_endpoint)
        return cache.fetch(repo, commit)[1]


def _revision(repo: str, commit: str, folder: Path) -> Revision:
    config = read_config(folder)
    rank = config.get("r")
    return Revision(
        persona=repo,
        id=commit,
        base=str(config.get("base_model_name_or_path") or ""),
        base_revision=None,
        rank=rank if isinstance(rank, int) else 0,
        size=sum(p.stat().st_size for p in folder.glob("*.safetensors")),
        source=f"hub:{repo}",
        created_at=now(),
    )


def _repository(revision: Revision) -> str | None:
    """Where on the Hub a registered revision came from: its source is `hub:org/name@branch`."""
    source, _, _ = revision.source.removeprefix("hub:").partition("@")
    return source if revision.source.startswith("hub:") and COMMIT.fullmatch(revision.id) else None
