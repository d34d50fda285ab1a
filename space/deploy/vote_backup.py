"""Keeps votes where a restart cannot reach them: restored at start, sent while the page runs, flushed at the end.

One thread does it, so that no visitor ever waits for the Hub. What the Hub has not acknowledged stays in the database
and is tried again, as the same files, so that nothing is there twice. Killed without a warning, a Space loses what was
voted since the last export: about `batch` votes at most.
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
"""Seconds until a failed export is tried again; each failure doubles it, up to the usual pause."""
FLUSH = 20.0
"""Seconds that the last export gets when the Space is told to stop."""

log = logging.getLogger("space.votes")


class VoteBackup:
    """`open()` it when the page starts, tell it of votes by `voted()`, and `close()` it when the page ends."""

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
        """When the repository had everything."""
        self._misses = 0
        self._sending: tuple[ExportBatch, dict[str, bytes]] | None = None
        self._wake = threading.Event()
        self._leaving = threading.Event()
        self._thread = threading.Thread(target=self._run, name="ballot-box", daemon=True)

    def open(self) -> None:
        """Starts restoring, and then sending, in the background."""
        self._thread.start()

    def voted(self) -> None:
        """A vote is on disk; enough of them are sent at once."""
        with self._lock:
            self._votes += 1
            if self._votes >= self._batch:
                self._wake.set()

    def close(self, timeout: float = FLUSH) -> None:
        """Sends what is left; returns when the Hub has it, or after `timeout` seconds."""
        self._leaving.set()
        self._wake.set()
        self._thread.join(timeout)
        if self._thread.is_alive():
            log.warning("votes: %s did not take the last votes within %.0f s", self._repo.name, timeout)

    def restore(self) -> Restored:
        """Adds what the repository has and the database has not.

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
            HubError: the repository cannot be written; nothing is lost, the same files go next time.
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
        told = f"{len(batch.battles)} battles and {len(batch.votes)} votes"
        self._repo.add(files, told)
        acknowledge(self._engine, self._repo.name, batch)
        self._sending = None
        log.info("votes: %s sent to %s", told, self._repo.name)
        return batch

    def _run(self) -> None:
        restored = self._try(self.restore)
        while True:
            self._wake.wait(self._pause())
            self._wake.clear()
            leaving = self._leaving.is_set()
            restored = restored or (not leaving and self._try(self.restore))
            self._try(self.export)
            if leaving:
                return

    def _try(self, what: Callable[[], object]) -> bool:
        """Failures of the Hub and of the database are said and counted, and end nothing."""
        try:
            what()
        except (HubError, SQLAlchemyError) as error:
            self._misses += 1
            kept = f"{len(self._sending[0].votes)} votes are kept here; " if self._sending else ""
            line = str(error).splitlines()[0]
            log.warning("votes: %s not done: %s; %snext try in %.0f s", what.__name__, line, kept, self._pause())
            return False
        self._misses = 0
        return True

    def _pause(self) -> float:
        return min(self._every, FIRST_RETRY * 2 ** (self._misses - 1)) if self._misses else self._every
