"""Where adapters that were asked for by their Hub id are kept, a folder for each commit; old ones are deleted."""

import contextlib
import logging
import os
import shutil
from collections.abc import Collection
from pathlib import Path

from understudy.registry.adapters import COMMIT, read_config, store_snapshot
from understudy.registry.hub import MAX_BYTES, fetch_adapter
from understudy.registry.registry import Revision
from understudy.registry.tables import now

log = logging.getLogger("understudy.guests")


class AdapterCache:
    """Folders on disk, bounded together. Every method blocks. Names of clients never become paths: commits do."""

    def __init__(self, folder: Path, max_bytes: int, endpoint: str) -> None:
        self._folder, self._max_bytes, self._endpoint = folder, max_bytes, endpoint

    def bring(self, repo: str, commit: str) -> tuple[Revision, Path]:
        """The adapter of a commit, downloaded unless it is here; and its folder.

        What is left of a download that broke off stays, and the next one goes on with it.

        Raises:
            AdapterError, HubError: it cannot be had, or is none.
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
        """Deletes what was unused longest until the rest fits, but none of the commits in `kept`."""
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
                log.info("%s makes room on the disk", path.name)
                shutil.rmtree(path, ignore_errors=True)
                total -= sizes[path]

    def _of(self, commit: str) -> Path:
        if not COMMIT.fullmatch(commit):
            raise ValueError(f"{commit!r:.80} is no commit")
        return self._folder / commit

    def _incoming(self, commit: str) -> Path:
        folder = self._of(commit).parent / ".downloads" / commit
        folder.mkdir(parents=True, exist_ok=True)
        return folder


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
