"""Where on this machine the adapter is that an engine elsewhere asks for by its immutable name."""

import re
import threading
from pathlib import Path

from serve.hub_sync.adapter_cache import AdapterCache
from understudy.config.recipe import NAME
from understudy.config.settings import Settings
from understudy.errors import AdapterError, NotFoundError
from understudy.registry.adapters import COMMIT, SHORT, short, store_snapshot
from understudy.registry.hub import REPO, fetch_adapter
from understudy.registry.registry import Revision, open_registry

SERVED_NAME = re.compile(rf"({NAME.strip('^$')}|{REPO.pattern})@([0-9a-f]{{{SHORT},64}})", re.ASCII)
"""`persona@revision` or `org/name@revision`. The part before the @ never becomes a path, the other is hex digits."""


class AdapterFolders:
    """Finds a revision in the shared store; one that is a commit of the Hub may also come from there."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._one = threading.Lock()

    def find(self, name: str) -> Path:
        """The folder of `persona@revision`; blocks, and may download. A name always means the same content.

        Raises:
            NotFoundError: no such revision here, in the registry, or on the Hub.
            AdapterError: that is no served name, or the revision's digits fit several folders.
        """
        match = SERVED_NAME.fullmatch(name)
        if match is None:
            raise AdapterError(f"{name!r:.100} names no adapter; engines know them as persona@revision")
        here = self._here(match[2])
        if len(here) > 1:
            raise AdapterError(f"{name} fits {len(here)} folders; use more digits of the revision")
        if here:
            return here[0]
        with self._one:  # several requests may ask for the same one
            return (self._here(match[2]) or [self._fetch(match[1], match[2])])[0]

    def _here(self, revision: str) -> list[Path]:
        stores = (self._settings.store_dir, self._settings.home / "guests")
        found = {p.name: p for store in stores for p in store.glob(f"{revision}*") if p.is_dir()}
        return list(found.values())

    def _fetch(self, persona: str, revision: str) -> Path:
        if "/" in persona:
            return self._guest(persona, revision)
        registered = open_registry(self._settings).revision(persona, revision)
        repo = _repository(registered)
        if repo is None:
            raise NotFoundError(
                f"{registered.served_name} is neither in {self._settings.store_dir} nor on the Hub; "
                "is the store shared with the gateway's machine?"
            )
        snapshot, _ = fetch_adapter(repo, registered.id, endpoint=self._settings.hub_endpoint)
        return store_snapshot(snapshot, registered.id, self._settings.store_dir)

    def _guest(self, repo: str, commit: str) -> Path:
        if not COMMIT.fullmatch(commit):
            raise NotFoundError(f"{repo}@{short(commit)} is not in the store; from the Hub it needs all 40 digits")
        allowed = {name.strip() for name in self._settings.hub_orgs.split(",")}
        if repo not in allowed and repo.partition("/")[0] not in allowed:
            raise NotFoundError(f"{repo} is not among those who may be asked for (UNDERSTUDY_HUB_ORGS)")
        store = AdapterCache(
            self._settings.home / "guests", self._settings.hub_store_bytes, self._settings.hub_endpoint
        )
        return store.bring(repo, commit)[1]


def _repository(revision: Revision) -> str | None:
    """Where on the Hub a registered revision came from: its source is `hub:org/name@branch`."""
    source, _, _ = revision.source.removeprefix("hub:").partition("@")
    return source if revision.source.startswith("hub:") and COMMIT.fullmatch(revision.id) else None
