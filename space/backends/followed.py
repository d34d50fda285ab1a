"""Personas that follow repositories of the Hub without a gateway: fetched, validated, proved, live by one assignment.

What happens is written to the same history as a gateway's. A commit that was refused is not tried again.
"""

import logging
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from space.backends.listing import LearningPersona
from understudy.errors import AdapterError, HubError, NotFoundError
from understudy.registry.adapters import short
from understudy.registry.hub import LATEST, WILDCARD, ResolvedRevision, fetch_adapter, wanted_commit
from understudy.registry.persona_card import Card, read_card
from understudy.registry.records import HandledCommit, Revision
from understudy.registry.registry import Registry

log = logging.getLogger("space.followed")

MAX_PAUSE = 600.0
"""Longest pause, in seconds, between two polls of a repository that cannot be read."""
OF_THE_COMMIT = ("no_adapter", "too_large")
"""Codes of errors that a retry cannot change."""


@dataclass(frozen=True)
class Followed:
    """What one persona follows."""

    repo: str
    policy: str = LATEST
    """`latest`, a pattern of tags, or one tag or commit that is never left."""
    card: Callable[[dict[str, Any]], dict[str, Any]] = dict
    """Changes the card that came with the adapter."""


@dataclass(frozen=True)
class LivePersona:
    """A persona and the revision that answers, or is to answer, under its name."""

    revision: Revision
    folder: Path
    card: Card

    @property
    def adapter(self) -> str:
        """The adapter's name in the model."""
        return f"{self.revision.persona}_{short(self.revision.id)}"


class NoProofError(Exception):
    """The candidate could not be asked now, which is not its fault."""


Validate = Callable[[Path], list[str]]
"""Lists what keeps an adapter from being served."""
Prove = Callable[[LivePersona, Mapping[str, LivePersona]], list[str]]
"""Lists what is wrong with a candidate's answers beside those of what is live. May raise NoProofError."""


@dataclass
class HubPersonas:
    """The live personas; `open` it when the page is up. What it knows may be read at any time."""

    following: Mapping[str, Followed]
    registry: Registry
    validate: Validate
    prove: Prove
    endpoint: str = ""
    every: float = 30.0
    """Seconds between two polls."""
    live: dict[str, LivePersona] = field(default_factory=dict)
    """By name; replaced as a whole when one changes, so a reader's copy stays as it is."""
    changes: int = 0
    """Counts what a page should hear of."""
    _states: dict[str, LearningPersona] = field(default_factory=dict)
    _not_before: dict[str, float] = field(default_factory=dict)
    _failures: dict[str, int] = field(default_factory=dict)
    _soon: set[str] = field(default_factory=set)
    """Those that are looked at whatever `_not_before` says."""
    _wake: threading.Event = field(default_factory=threading.Event)

    @property
    def learners(self) -> tuple[LearningPersona, ...]:
        """Personas that are not live yet, and commits that were refused."""
        return tuple(self._states.values())

    def prepare(self) -> dict[str, str]:
        """Fetches and validates what is wanted now; returns the adapters' names and folders. Nothing is live yet."""
        found = {}
        for name, followed in self.following.items():
            try:
                candidate = self._candidate(name, followed, self._wanted(followed, self.registry.handled(name)))
            except AdapterError as error:
                log.warning("%s: %s", name, error)  # the first poll tells people
            else:
                if not self.validate(candidate.folder):
                    found[candidate.adapter] = str(candidate.folder)
        return found

    def open(self) -> None:
        """Polls from now on, in a thread of its own."""
        threading.Thread(target=self._run, name="followed", daemon=True).start()

    def poll_soon(self, repo: str) -> bool:
        """Polls at once if `repo` is followed, which is returned; for the Hub's webhook."""
        names = [name for name, one in self.following.items() if one.repo == repo]
        self._soon.update(names)
        if names:
            self._wake.set()
        return bool(names)

    def poll(self) -> None:
        """Looks at every repository and publishes what is new. Blocks; never raises."""
        for name, followed in self.following.items():
            if name not in self._soon and time.monotonic() < self._not_before.get(name, 0.0):
                continue
            self._soon.discard(name)
            try:
                self._look(name, followed)
                self._failures.pop(name, None)
            except HubError as error:
                self._trouble(name, error)
            except Exception:  # the thread outlives any error
                log.exception("%s: polling %s failed", name, followed.repo)

    def _run(self) -> None:
        while True:
            self._wake.clear()
            self.poll()
            self._wake.wait(self.every)

    def _look(self, name: str, followed: Followed) -> None:
        """Publishes the wanted commit if it is new. Raises HubError."""
        handled = self.registry.handled(name)
        if handled and handled.repo != followed.repo:
            handled = None
        if name not in self.live and handled:
            self._restore(name, followed)
        wanted = self._wanted(followed, handled)
        if handled is None or handled.commit != wanted.commit:
            done = HandledCommit(repo=followed.repo, wanted=followed.policy, commit=wanted.commit)
            if self._publish(name, followed, wanted):
                self.registry.set_handled(name, done)

    def _wanted(self, followed: Followed, handled: HandledCommit | None) -> ResolvedRevision:
        pinned = followed.policy != LATEST and not WILDCARD.search(followed.policy)
        if pinned and handled and handled.wanted == followed.policy:
            return ResolvedRevision(commit=handled.commit, name=followed.policy)  # a moved tag changes nothing
        return wanted_commit(followed.repo, followed.policy, endpoint=self.endpoint)

    def _restore(self, name: str, followed: Followed) -> None:
        """Makes live what the registry says was live before a restart. Raises HubError."""
        try:
            known = self.registry.persona(name).live
        except NotFoundError:
            return
        if known:
            self._set(name, self._candidate(name, followed, ResolvedRevision(commit=known, name=short(known))))

    def _publish(self, name: str, followed: Followed, wanted: ResolvedRevision) -> bool:
        """Publishes or refuses a commit; false if that is to be tried again. Raises HubError."""
        began, live = time.monotonic(), self.live.get(name)
        if live is None:
            self._state(LearningPersona(persona=name, title=name, state="publishing"))
        try:
            candidate = self._candidate(name, followed, wanted)
        except AdapterError as error:
            if isinstance(error, HubError) and error.code not in OF_THE_COMMIT:
                raise
            return self._refuse(name, followed, wanted, "fetch", [str(error)])
        if problems := self.validate(candidate.folder):
            return self._refuse(name, followed, wanted, "validate", problems)
        proof = "passed"
        try:
            problems = self.prove(candidate, self.live)
        except NoProofError as error:
            if live is not None:
                log.info("%s: %s is proved later: %s", name, wanted.name, error)
                return False
            proof = f"not asked: {error}"
        if problems:
            return self._refuse(name, followed, wanted, "probe", problems)
        detail = {"seconds": round(time.monotonic() - began, 3), "checks": {"probe": proof}}
        detail |= {"previous": live.revision.id if live else None}
        self.registry.set_live(candidate.revision, actor=f"hub:{followed.repo}", action="publish", detail=detail)
        self._set(name, candidate)
        self._state(None, name)
        return True

    def _candidate(self, name: str, followed: Followed, wanted: ResolvedRevision) -> LivePersona:
        """The revision of a commit, fetched if it is not here. Raises AdapterError."""
        try:
            revision = self.registry.revision(name, wanted.commit)
            folder = self.registry.path(revision)
        except NotFoundError:
            snapshot, commit = fetch_adapter(followed.repo, wanted.commit, endpoint=self.endpoint)
            source, actor = f"hub:{followed.repo}@{wanted.name}", f"hub:{followed.repo}"
            revision = self.registry.add_hub_revision(name, snapshot, commit, source=source, actor=actor)
            folder = self.registry.path(revision)
        card = followed.card(read_card(folder))
        self.registry.ensure_persona(name, card)
        return LivePersona(revision, folder, Card.model_validate({"title": name, **card}))

    def _refuse(
        self, name: str, followed: Followed, wanted: ResolvedRevision, stage: str, reasons: Sequence[str]
    ) -> bool:
        detail = {"stage": stage, "reasons": list(reasons)}
        self.registry.note(name, wanted.commit, actor=f"hub:{followed.repo}", action="reject", detail=detail)
        log.warning("%s: %s of %s is refused: %s", name, wanted.name, followed.repo, reasons[0])
        title = f"{name}@{short(wanted.commit)}"
        self._state(LearningPersona(persona=name, title=title, state="refused", reason=reasons[0]))
        return True

    def _trouble(self, name: str, error: HubError) -> None:
        """Waits longer after each failure; the page says why where nothing is live."""
        failures = self._failures[name] = self._failures.get(name, 0) + 1
        pause = max(error.retry_after, min(MAX_PAUSE, self.every * 2.0 ** (failures - 1)))
        self._not_before[name] = time.monotonic() + pause
        log.warning("%s: %s; next try in %.0f s", name, error, pause)
        if name not in self.live:
            self._state(LearningPersona(persona=name, title=name, state="refused", reason=str(error)))

    def _set(self, name: str, persona: LivePersona) -> None:
        self.live = {**self.live, name: persona}
        self.changes += 1

    def _state(self, state: LearningPersona | None, name: str = "") -> None:
        others = {key: one for key, one in self._states.items() if key != (state.persona if state else name)}
        self._states = {**others, state.persona: state} if state else others
        self.changes += 1
