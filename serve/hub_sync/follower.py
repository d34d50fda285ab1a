"""Follows one repository of the Hub for one persona: poll, fetch, publish, and retry what fails."""

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
from understudy.errors import AdapterError, EngineError, HubError, PublishError
from understudy.registry.adapters import short
from understudy.registry.hub import LATEST, WILDCARD, ResolvedRevision, wanted_commit
from understudy.registry.hub_registry import stored_commit
from understudy.registry.persona_card import read_card
from understudy.registry.records import HandledCommit, Revision
from understudy.registry.registry import Registry
from understudy.registry.tables import now

log = logging.getLogger("understudy.watch")

POLL_SECONDS = 30.0
"""Timeout of one poll: two requests of 10 s each, and some slack."""

DOWNLOAD_SECONDS = 1800.0
"""Timeout of one attempt to download a revision; the next one resumes it."""

MIN_GAP = 1.0
"""Seconds between two polls of one repository, however often one is requested."""

MAX_PAUSE = 600.0
"""Longest pause, in seconds, between two polls of a repository that cannot be read."""

MAX_ATTEMPTS = 6
"""Failed attempts to publish one commit, after which it is given up until a poll is requested."""

REPEAT_AFTER = 3600.0
"""Seconds after which a cause is written to the history again."""

OF_THE_COMMIT = ("no_adapter", "too_large")
"""Codes of errors that a retry cannot change: the commit itself is at fault."""


class PollResult(BaseModel):
    """The result of a poll, for metrics and events."""

    model_config = ConfigDict(frozen=True)

    persona: str
    outcome: str
    """same, published, refused, left (no longer followed), or one word for what failed."""
    failing: bool = False
    announce: bool = False
    """Whether it is sent as an event: once for each cause."""


async def _always() -> bool:
    """An engine in this process is as healthy as we are."""
    return True


@dataclass(frozen=True)
class FollowerContext:
    """What all followers share."""

    registry: Registry
    publisher: Publisher
    ready: Callable[[], bool]
    """Whether the engine is ready, so that a revision can be published."""
    emit: Callable[[PollResult], None]
    endpoint: str
    poll: float
    engine_healthy: Callable[[], Awaitable[bool]] = _always
    """Asks the engine itself, to tell after a refusal whether it was the engine's fault."""


class Follower:
    """Polls a repository on request and at intervals, one poll at a time."""

    def __init__(self, persona: str, follow: Follow, context: FollowerContext) -> None:
        self.persona, self.follow = persona, follow
        self._context = context
        self._poll_requested = asyncio.Event()
        self._leaving = False
        self._seen: ResolvedRevision | None = None
        self._handled = ""
        self._error, self._kind = "", ""
        self._last: datetime | None = None
        self._next: datetime | None = None
        self._began = 0.0
        self._not_before = 0.0
        """Monotonic time at which the Hub allows the next request."""
        self._failures = 0
        self._attempts = ("", 0)
        """The commit that is being published, and the number of attempts."""
        self._given_up = ""
        self._recorded: dict[str, float] = {}

    def request_poll(self) -> None:
        """Polls soon; any number of requests before that poll are one."""
        self._attempts = ("", 0)
        self._poll_requested.set()

    def change(self, follow: Follow) -> None:
        """Applies a changed configuration from the next poll on."""
        if follow != self.follow:
            self.follow, self._failures, self._not_before = follow, 0, 0.0
            self._recorded.clear()
        self._leaving = False
        self.request_poll()

    def leave(self) -> None:
        """Stops after the poll in progress."""
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
            "refused": bool(self._error) and not self._kind,  # the commit is at fault
            "next_look": self._next,
        }

    async def run(self) -> None:
        """Polls and waits until `leave`."""
        while not self._leaving:
            self._poll_requested.clear()
            self._began, self._next = time.monotonic(), None
            try:
                pause = await self._poll(self.follow)
            except Exception as error:  # the follower outlives any error
                log.exception("%s: polling %s failed", self.persona, self.follow.repo)
                self._error, self._kind = f"{type(error).__name__}, see the gateway's log", "internal"
                self._context.emit(PollResult(persona=self.persona, outcome=self._kind, failing=True))
                pause = self._back_off()
            await self._wait(pause)
        self._context.emit(PollResult(persona=self.persona, outcome="left"))

    async def _wait(self, pause: float) -> None:
        pause *= random.uniform(0.9, 1.1)  # so that several gateways do not poll in step
        pause = max(pause, self._not_before - time.monotonic())
        self._next = now() + timedelta(seconds=pause)
        try:
            async with asyncio.timeout(pause):
                await self._poll_requested.wait()
        except TimeoutError:
            return
        earliest = max(self._not_before, self._began + MIN_GAP)
        await asyncio.sleep(0 if self._leaving else max(0.0, earliest - time.monotonic()))

    async def _poll(self, follow: Follow) -> float:
        """Polls once and publishes what is new; returns the seconds until the next poll."""
        if not self._context.ready():
            return MIN_GAP
        self._last = now()
        try:
            handled = await asyncio.to_thread(self._context.registry.handled, self.persona)
            handled = handled if handled and handled.repo == follow.repo else None
            wanted = self._seen = await self._wanted(follow, handled)
            if handled is not None and handled.commit == wanted.commit:
                outcome = "same"
                await self._remember(follow, wanted, handled)
            elif self._attempts == (wanted.commit, MAX_ATTEMPTS):
                return self._back_off()
            else:
                outcome = await self._publish_commit(follow, wanted, first=handled is None)
        except HubError as error:
            return await self._trouble(follow, error)
        except EngineError as error:
            return await self._trouble(follow, HubError(str(error), "engine", passing=True))
        if self._kind:  # that error is over; a refusal stays until something is published
            self._error, self._kind = "", ""
        self._failures, self._not_before = 0, 0.0
        self._context.emit(PollResult(persona=self.persona, outcome=outcome))
        return self._context.poll

    async def _wanted(self, follow: Follow, handled: HandledCommit | None) -> ResolvedRevision:
        pinned = follow.follow != LATEST and not WILDCARD.search(follow.follow)
        if pinned and handled and handled.wanted == follow.follow:
            return ResolvedRevision(commit=handled.commit, name=follow.follow)  # a moved tag changes nothing
        where = f"{follow.repo}: looking up {follow.follow}"
        return await _with_timeout(
            where, POLL_SECONDS, wanted_commit, follow.repo, follow.follow, endpoint=self._context.endpoint
        )

    async def _publish_commit(self, follow: Follow, wanted: ResolvedRevision, *, first: bool) -> str:
        """Publishes a new commit; returns `published` or `refused`. `first`: the repository has no earlier one.

        Raises:
            HubError, EngineError: something else failed, which may be over later.
        """
        log.info("%s: %s has %s (%s)", self.persona, follow.repo, short(wanted.commit), wanted.name)
        commit, attempts = self._attempts
        self._attempts = (wanted.commit, attempts + 1 if commit == wanted.commit else 1)
        problem = ""
        try:
            revision = await self._stored(follow, wanted)
            await self._publish(follow, revision)
            await self._update_card(follow, revision)
        except PublishError as error:  # the history has it already
            if not await self._context.engine_healthy():
                raise HubError(f"the engine failed during the publish: {error}", "engine", passing=True) from error
            problem = str(error)
        except AdapterError as error:
            if isinstance(error, HubError) and error.code not in OF_THE_COMMIT:
                raise
            problem = str(error)
            kind = error.code if isinstance(error, HubError) else "broken"
            if not (first and kind == "no_adapter"):  # a new repository is empty at first; that is not an event
                await self._note(follow, "reject", {"stage": "fetch", "reasons": [problem]}, wanted.commit)
                log.warning("%s: %s", self.persona, problem)
                self._context.emit(PollResult(persona=self.persona, outcome=kind, announce=True))
        await self._remember(follow, wanted, None)
        self._error, self._kind = problem, ""  # no await since _remember, so that the status shows both or neither
        return "refused" if problem else "published"

    async def _remember(self, follow: Follow, wanted: ResolvedRevision, before: HandledCommit | None) -> None:
        """Stores that the commit was handled: neither a poll nor a restart tries it again."""
        done = HandledCommit(repo=follow.repo, wanted=follow.follow, commit=wanted.commit)
        if done != before:
            await asyncio.to_thread(self._context.registry.set_handled, self.persona, done)
        self._handled = wanted.commit

    async def _stored(self, follow: Follow, wanted: ResolvedRevision) -> Revision:
        """Returns the revision of the commit, fetched into our store if it is not there yet."""
        where, context = f"{follow.repo}@{wanted.name}", self._context
        return await _with_timeout(
            where,
            DOWNLOAD_SECONDS,
            stored_commit,
            context.registry,
            self.persona,
            follow.repo,
            wanted,
            follow.actor,
            context.endpoint,
        )

    async def _publish(self, follow: Follow, revision: Revision) -> None:
        live = self._context.publisher.live(self.persona)
        if live == revision.id:
            return
        share = follow.canary if live else 1.0  # the first revision has nothing to be compared with
        await self._context.publisher.publish(self.persona, revision.id, actor=follow.actor, share=share)

    async def _update_card(self, follow: Follow, revision: Revision) -> None:
        """Sets the persona's card from the revision, where personas.yaml does not set it."""
        registry = self._context.registry

        def combined() -> dict[str, Any]:
            known = registry.persona(self.persona).card
            card = follow.card(known | read_card(registry.path(revision)))
            registry.ensure_persona(self.persona, card)
            return card

        self._context.publisher.set_card(self.persona, await asyncio.to_thread(combined))

    async def _trouble(self, follow: Follow, error: HubError) -> float:
        """Records why the poll failed, in the history once for each cause; returns the seconds until the next poll."""
        self._error, self._kind = str(error), error.code
        self._not_before = time.monotonic() + error.retry_after
        again = self._recorded.get(error.code, -REPEAT_AFTER) + REPEAT_AFTER <= time.monotonic()
        if again:
            self._recorded[error.code] = time.monotonic()
            log.warning("%s: %s", self.persona, error)
            await self._note(follow, "hub", {"cause": error.code, "reasons": [str(error)]}, None)
        if self._attempts[1] == MAX_ATTEMPTS and self._given_up != self._attempts[0]:
            self._given_up = self._attempts[0]
            reason = f"given up after {MAX_ATTEMPTS} attempts, until the repository changes or its webhook calls again"
            await self._note(follow, "hub", {"cause": error.code, "reasons": [reason]}, self._given_up)
        self._context.emit(PollResult(persona=self.persona, outcome=error.code, failing=True, announce=again))
        return max(error.retry_after, self._back_off())

    async def _note(self, follow: Follow, action: str, detail: dict[str, Any], revision: str | None) -> None:
        registry = self._context.registry
        await asyncio.to_thread(registry.note, self.persona, revision, actor=follow.actor, action=action, detail=detail)

    def _back_off(self) -> float:
        self._failures += 1
        return min(max(MAX_PAUSE, self._context.poll), self._context.poll * 2.0 ** min(self._failures - 1, 20))


async def _with_timeout(where: str, seconds: float, work: Callable[..., Any], *args: Any, **more: str) -> Any:
    """Runs work on the Hub in a thread; a timeout after `seconds` is a HubError like others."""
    try:
        return await run_in_background(seconds, work, *args, **more)
    except TimeoutError:
        raise HubError(f"{where}: the Hub took longer than {seconds:.0f} s", "slow", passing=True) from None
