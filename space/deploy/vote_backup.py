"""Backs up votes in a repository of the Hub: restored at start, sent while the page runs, flushed at the end.

One thread does it, so that no visitor waits for the Hub. Votes that the Hub has not acknowledged stay in the database
and are sent again as the same files, so that nothing is stored twice. A Space that is killed loses the votes since the
last export: about `batch` at most.
"""

import logging
import secrets
import threading
from collections.abc import Callable
from datetime import datetime

from sqlalchemy import Engine
from sqlalchemy.exc import SQLAlchemyError

from arena.votes.export import ExportBatch, Restored, acknowledge, pending, restore
from space.deploy.votes_repo import VotesRepo
from understudy.errors import HubError
from understudy.registry.tables import now

FIRST_RETRY = 5.0
"""Seconds until a failed export is tried again; each failure doubles it, up to the usual interval."""
FLUSH = 20.0
"""Seconds that the last export gets when the Space stops."""

log = logging.getLogger("space.votes")


class VoteBackup:
    """Call `open()` when the page starts, `voted()` after each vote, and `close()` when the page ends."""

    def __init__(self, engine: Engine, repo: VotesRepo, *, every: float, batch: int) -> None:
        self._engine = engine
        self._repo = repo
        self._every = every
        self._batch = batch
        self._writer = secrets.token_hex(6)
        self._count = 0
        self._lock = threading.Lock()
        self._votes = 0
        self._all_sent: datetime | None = None
        """When the repository last had everything."""
        self._failures = 0
        self._sending: tuple[ExportBatch, dict[str, bytes]] | None = None
        self._wake = threading.Event()
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._run, name="vote-backup", daemon=True)

    def open(self) -> None:
        """Starts restoring, and then sending, in the background."""
        self._thread.start()

    def voted(self) -> None:
        """Counts a vote that is on disk; `batch` of them are sent at once."""
        with self._lock:
            self._votes += 1
            if self._votes >= self._batch:
                self._wake.set()

    def close(self, timeout: float = FLUSH) -> None:
        """Sends the remaining votes; returns when the Hub has them, or after `timeout` seconds."""
        self._closing.set()
        self._wake.set()
        self._thread.join(timeout)
        if self._thread.is_alive():
            log.warning("votes: %s did not take the last votes within %.0f s", self._repo.name, timeout)

    def restore(self) -> Restored:
        """Adds what the repository has and the database lacks.

        Raises:
            HubError: the repository cannot be read.
        """
        outcome = restore(self._engine, self._repo.name, self._repo.files())
        for problem in outcome.problems:
            log.warning("votes: %s: %s", self._repo.name, problem)
        log.info("votes: %d battles and %d votes restored from %s", outcome.battles, outcome.votes, self._repo.name)
        return outcome

    def export(self) -> ExportBatch:
        """Sends everything that the repository has not acknowledged; returns what was sent.

        Raises:
            HubError: the repository cannot be written; the same files are sent next time, so nothing is lost.
        """
        with self._lock:
            self._votes = 0
        sent = ExportBatch()
        while batch := self._send():
            sent = ExportBatch(sent.battles + batch.battles, sent.votes + batch.votes)
        return sent

    def _send(self) -> ExportBatch:
        if self._sending is None:
            at = now()
            batch = pending(self._engine, self._repo.name, since=self._all_sent)
            if not batch:
                self._all_sent = at
                return batch
            self._count += 1
            self._sending = batch, batch.files(self._writer, self._count, at)
        batch, files = self._sending
        summary = f"{len(batch.battles)} battles and {len(batch.votes)} votes"
        self._repo.add(files, summary)
        acknowledge(self._engine, self._repo.name, batch)
        self._sending = None
        log.info("votes: %s sent to %s", summary, self._repo.name)
        return batch

    def _run(self) -> None:
        restored = self._try(self.restore)
        while True:
            self._wake.wait(self._pause())
            self._wake.clear()
            closing = self._closing.is_set()
            restored = restored or (not closing and self._try(self.restore))
            self._try(self.export)
            if closing:
                return

    def _try(self, action: Callable[[], object]) -> bool:
        """Runs the action; a failure of the Hub or the database is logged and counted."""
        try:
            action()
        except (HubError, SQLAlchemyError) as error:
            self._failures += 1
            kept = f"{len(self._sending[0].votes)} votes are kept here; " if self._sending else ""
            line = str(error).splitlines()[0]
            log.warning("votes: %s not done: %s; %snext try in %.0f s", action.__name__, line, kept, self._pause())
            return False
        self._failures = 0
        return True

    def _pause(self) -> float:
        return min(self._every, FIRST_RETRY * 2 ** (self._failures - 1)) if self._failures else self._every
