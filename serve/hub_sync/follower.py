"""One persona that follows one repository of the Hub: look, fetch, publish; and what is done when that fails."""

import asyncio
import logging
import random
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from pydantic import BaseModel, ConfigDict

from serve.hub_sync.background import run_in_background
from serve.hub_sync.follow_config import Follow
from serve.rollout.publisher import Publisher
from understudy.errors import AdapterError, EngineError, HubError, NotFoundError, PublishError
from understudy.registry.adapters import short
from understudy.registry.hub import LATEST, WILDCARD, ResolvedRevision, fetch_adapter, wanted_commit
from understudy.registry.persona_card import read_card
from understudy.registry.registry import HandledCommit, Registry, Revision
from understudy.registry.tables import now

log = logging.getLogger("understudy.watch")

LOOK_SECONDS = 30.0
"""For one look at a repository: two requests of 10 s each, and room."""

DOWNLOAD_SECONDS = 1800.0
"""For one try to download a revision; the next one goes on where it stopped."""

MIN_GAP = 1.0
"""Seconds between two looks at one repository, however often somebody knocks."""

MAX_PAUSE = 600.0
"""Seconds: the longest pause between two looks at a repository that cannot be read."""

MAX_TRIES = 6
"""Failed tries to bring one commit on stage, after which it is given up until somebody knocks."""

TELL_AGAIN = 3600.0
"""Seconds after which a cause that was told in the history is told again."""

OF_THE_COMMIT = ("no_adapter", "too_large")
"""Causes that no retry can change: the commit itself is at fault."""


class PollResult(BaseModel):
    """What a look came to, for metrics and for people who follow."""

    model_config = ConfigDict(frozen=True)

    persona: str
    outcome: str
    """same, published, refused, left (nobody looks any more), or in one word what kept us from it."""
    failing: bool = False
    told: bool = False
    """Whether it is worth a piece of news: once for each cause."""


@dataclass(frozen=True)
class FollowerContext:
    """What all followers share."""

    registry: Registry
    publisher: Publisher
    ready: Callable[[], bool]
    """Whether the engine is on stage, and anything can be published."""
    well: Callable[[], Awaitable[bool]]
    """Asks the engine itself: after a refusal, was it the engine's fault?"""
    emit: Callable[[PollResult], None]
    endpoint: str
    poll: float


class Follower:
    """Looks at a repository when somebody knocks, and now and then; one look at a time."""

    def __init__(self, persona: str, follow: Follow, backstage: FollowerContext) -> None:
        self.persona, self.follow = persona, follow
        self._back = backstage
        self._poll_requested = asyncio.Event()
        self._leaving = False
        self._seen: ResolvedRevision | None = None
        self._handled = ""
        self._error, self._kind = "", ""
        self._last: datetime | None = None
        self._next: datetime | None = None
        self._began = 0.0
        self._not_before = 0.0
        """When the Hub allows us to ask again."""
        self._failures = 0
        self._tries = ("", 0)
        """The commit that is being brought on stage, and how often that was tried."""
        self._given_up = ""
        self._told: dict[str, float] = {}

    def request_poll(self) -> None:
        """Something may have changed: look soon. Any number of knocks before the look are one."""
        self._tries = ("", 0)
        self._poll_requested.set()

    def change(self, follow: Follow) -> None:
        """Follows something else, or otherwise, from the next look on."""
        if follow != self.follow:
            self.follow, self._failures, self._not_before = follow, 0, 0.0
            self._told.clear()
        self._leaving = False
        self.request_poll()

    def leave(self) -> None:
        """Stops after the look that is in progress."""
        self._leaving = True
        self._poll_requested.set()

    def status(self) -> dict[str, Any]:
        """For /admin/status."""
        return {
            "repo": self.follow.repo,
            "follow": self.follow.follow,
            "wanted": self._seen.model_dump() if self._seen else None,
            "handled": self._handled or None,
            "last_look": self._last,
            "last_error": self._error or None,
            "next_look": self._next,
        }

    async def run(self) -> None:
        """Looks and waits until told to leave."""
        while not self._leaving:
            self._poll_requested.clear()
            self._began, self._next = time.monotonic(), None
            try:
                pause = await self._look(self.follow)
            except Exception as error:  # whatever it was, the persona goes on following
                log.exception("%s: looking at %s failed", self.persona, self.follow.repo)
                self._error, self._kind = f"{type(error).__name__}, see the gateway's log", "internal"
                self._back.emit(PollResult(persona=self.persona, outcome=self._kind, failing=True))
                pause = self._back_off()
            await self._wait(pause)
        self._back.emit(PollResult(persona=self.persona, outcome="left"))

    async def _wait(self, pause: float) -> None:
        pause *= random.uniform(0.9, 1.1)  # so that a fleet of gateways does not ask in step
        pause = max(pause, self._not_before - time.monotonic())
        self._next = now() + timedelta(seconds=pause)
        try:
            async with asyncio.timeout(pause):
                await self._poll_requested.wait()
        except TimeoutError:
            return
        earliest = max(self._not_before, self._began + MIN_GAP)
        await asyncio.sleep(0 if self._leaving else max(0.0, earliest - time.monotonic()))

    async def _look(self, follow: Follow) -> float:
        """One look, and what follows from it; returns the seconds until the next."""
        if not self._back.ready():
            return MIN_GAP
        self._last = now()
        try:
            handled = await asyncio.to_thread(self._back.registry.handled, self.persona)
            handled = handled if handled and handled.repo == follow.repo else None
            wanted = self._seen = await self._wanted(follow, handled)
            if handled is not None and handled.commit == wanted.commit:
                outcome = "same"
                await self._remember(follow, wanted, handled)
            elif self._tries == (wanted.commit, MAX_TRIES):
                return self._back_off()
            else:
                outcome = await self._bring(follow, wanted, first=handled is None)
        except HubError as error:
            return await self._trouble(follow, error)
        except EngineError as error:
            return await self._trouble(follow, HubError(str(error), "engine", passing=True))
        if self._kind:  # that is over; a refusal stays the last error until something is published
            self._error, self._kind = "", ""
        self._failures, self._not_before = 0, 0.0
        self._back.emit(PollResult(persona=self.persona, outcome=outcome))
        return self._back.poll

    async def _wanted(self, follow: Follow, handled: HandledCommit | None) -> ResolvedRevision:
        pinned = follow.follow != LATEST and not WILDCARD.search(follow.follow)
        if pinned and handled and handled.wanted == follow.follow:
            return ResolvedRevision(commit=handled.commit, name=follow.follow)  # a tag that is moved moves nobody
        where = f"{follow.repo}: looking for {follow.follow}"
        return await _patiently(
            where, LOOK_SECONDS, wanted_commit, follow.repo, follow.follow, endpoint=self._back.endpoint
        )

    async def _bring(self, follow: Follow, wanted: ResolvedRevision, *, first: bool) -> str:
        """Brings a new commit on stage; says whether it was `published` or `refused`. `first` of its repository?

        Raises:
            HubError, EngineError: neither: something else is wrong, which may be over later.
        """
        log.info("%s: %s has %s (%s)", self.persona, follow.repo, short(wanted.commit), wanted.name)
        commit, tries = self._tries
        self._tries = (wanted.commit, tries + 1 if commit == wanted.commit else 1)
        problem = ""
        try:
            revision = await self._stored(follow, wanted)
            await self._publish(follow, revision)
            await self._tell_card(follow, revision)
        except PublishError as error:  # it is in the history already
            if not await self._back.well():
                raise HubError(f"the engine failed in the middle of it: {error}", "engine", passing=True) from error
            problem = str(error)
        except AdapterError as error:
            if isinstance(error, HubError) and error.code not in OF_THE_COMMIT:
                raise
            problem = str(error)
            kind = error.code if isinstance(error, HubError) else "broken"
            if not (first and kind == "no_adapter"):  # a new repository begins empty, which is no event
                await self._note(follow, "reject", {"stage": "fetch", "reasons": [problem]}, wanted.commit)
                log.warning("%s: %s", self.persona, problem)
                self._back.emit(PollResult(persona=self.persona, outcome=kind, told=True))
        await self._remember(follow, wanted, None)
        self._error, self._kind = problem, ""  # no await since it was remembered: the status tells both or neither
        return "refused" if problem else "published"

    async def _remember(self, follow: Follow, wanted: ResolvedRevision, before: HandledCommit | None) -> None:
        """The commit is dealt with: neither a poll nor a restart tries it again."""
        done = HandledCommit(repo=follow.repo, wanted=follow.follow, commit=wanted.commit)
        if done != before:
            await asyncio.to_thread(self._back.registry.set_handled, self.persona, done)
        self._handled = wanted.commit

    async def _stored(self, follow: Follow, wanted: ResolvedRevision) -> Revision:
        """The commit in our own store, fetched if it is not there yet."""
        registry = self._back.registry
        try:
            revision = await asyncio.to_thread(registry.revision, self.persona, wanted.commit)
            registry.path(revision)
            return revision
        except NotFoundError:
            pass
        where = f"{follow.repo}@{wanted.name}"
        folder, _ = await _patiently(
            where, DOWNLOAD_SECONDS, fetch_adapter, follow.repo, wanted.commit, endpoint=self._back.endpoint
        )
        source = f"hub:{where}"
        return await asyncio.to_thread(
            registry.add_hub_revision, self.persona, folder, wanted.commit, source=source, actor=follow.actor
        )

    async def _publish(self, follow: Follow, revision: Revision) -> None:
        live = self._back.publisher.live(self.persona)
        if live == revision.id:
            return
        share = follow.canary if live else 1.0  # the first one has no rival
        await self._back.publisher.publish(self.persona, revision.id, actor=follow.actor, share=share)

    async def _tell_card(self, follow: Follow, revision: Revision) -> None:
        """What the revision says of itself is what people are told, unless personas.yaml says something else."""
        registry = self._back.registry

        def combined() -> dict[str, Any]:
            known = registry.persona(self.persona).card
            card = follow.card(known | read_card(registry.path(revision)))
            registry.ensure_persona(self.persona, card)
            return card

        self._back.publisher.set_card(self.persona, await asyncio.to_thread(combined))

    async def _trouble(self, follow: Follow, error: HubError) -> float:
        """Notes why nothing could be done, in the history once for each cause; returns the pause until the next try."""
        self._error, self._kind = str(error), error.code
        self._not_before = time.monotonic() + error.retry_after
        again = self._told.get(error.code, -TELL_AGAIN) + TELL_AGAIN <= time.monotonic()
        if again:
            self._told[error.code] = time.monotonic()
            log.warning("%s: %s", self.persona, error)
            await self._note(follow, "hub", {"cause": error.code, "reasons": [str(error)]}, None)
        if self._tries[1] == MAX_TRIES and self._given_up != self._tries[0]:
            self._given_up = self._tries[0]
            reason = f"given up after {MAX_TRIES} tries, until the repository changes or its webhook comes again"
            await self._note(follow, "hub", {"cause": error.code, "reasons": [reason]}, self._given_up)
        self._back.emit(PollResult(persona=self.persona, outcome=error.code, failing=True, told=again))
        return max(error.retry_after, self._back_off())

    async def _note(self, follow: Follow, action: str, detail: dict[str, Any], revision: str | None) -> None:
        registry = self._back.registry
        await asyncio.to_thread(registry.note, self.persona, revision, actor=follow.actor, action=action, detail=detail)

    def _back_off(self) -> float:
        self._failures += 1
        return min(max(MAX_PAUSE, self._back.poll), self._back.poll * 2.0 ** min(self._failures - 1, 20))


async def _patiently(where: str, seconds: float, work: Callable[..., Any], *args: str, **more: str) -> Any:
    """Work on the Hub, in a thread; no answer within `seconds` is a HubError like others."""
    try:
        return await run_in_background(seconds, work, *args, **more)
    except TimeoutError:
        raise HubError(f"{where}: the Hub took longer than {seconds:.0f} s", "slow", passing=True) from None
