"""Publishes revisions: validate, load under a new name, probe, flip the persona's name, drain the old one."""

import asyncio
import contextlib
import logging
import time
from collections.abc import Callable
from typing import Any

from pydantic import BaseModel, ConfigDict

from serve.rollout.canary import AnswerOutcome, Trial, TrialDecision
from serve.rollout.loaded import Loaded
from serve.rollout.loader import EventSink, Loader, RolloutEvent
from serve.rollout.routing import RoutingTable
from understudy.errors import AdapterError, EngineError, NotFoundError, PublishError
from understudy.registry.adapters import short
from understudy.registry.records import Revision
from understudy.registry.registry import Registry
from understudy.statistics.sequential import VoteSource

log = logging.getLogger("understudy.publish")

GATEWAY = "gateway"
"""The actor of changes that no caller asked for: replays after a restart, and verdicts on trials."""

COUNT_VOTES = 10.0
"""Seconds between two counts of the votes on a trial."""


class Published(BaseModel):
    """The result of a publish, a promotion or a rollback."""

    model_config = ConfigDict(frozen=True)

    persona: str
    revision: str
    """Live now, or on trial when `share` is below 1."""
    previous: str | None
    """The revision that was live before."""
    changed: bool
    """False when this revision was live already."""
    seconds: float
    share: float = 1.0


class Publisher:
    """Changes the live revisions of personas, one change at a time for each persona, while requests go on."""

    def __init__(
        self, registry: Registry, table: RoutingTable, loader: Loader, *, emit: EventSink, trial_answers: int
    ) -> None:
        self._registry, self._table, self._loader, self._emit = registry, table, loader, emit
        self._trial_answers = trial_answers
        self._endings: set[asyncio.Task[None]] = set()

    async def publish(
        self, persona: str, revision: str = "", *, actor: str, share: float = 1.0, action: str = "publish"
    ) -> Published:
        """Makes a registered revision (by prefix; empty means the newest) the live one of `persona`.

        With a `share` below 1 it goes on trial: that share of the users gets it, the others keep the live revision.

        Raises:
            NotFoundError: there is no such persona or revision.
            PublishError: it was refused; the reasons are in the error and in the history, and the live revision
                stays.
        """
        async with self._loader.locks[persona]:
            candidate = await asyncio.to_thread(self._registry.revision, persona, revision)
            started = time.monotonic()
            with contextlib.suppress(PublishError, NotFoundError, EngineError):  # then there is no live revision
                await self._load_live(persona)
            live = self._table.live.get(persona)
            if self._is_published(candidate, share):
                return _published(candidate, live, started, share=share, changed=False)
            if share < 1:
                self._require_live(candidate, live)
            loaded = await self._loader.load_and_probe(candidate, actor)
            try:
                if share < 1:
                    await self._begin_trial(loaded, share, actor, started)
                else:
                    await self._go_live(loaded, actor, action, started)
            except BaseException:
                self._loader.retire(loaded)
                raise
            return _published(candidate, live, started, share=share)

    async def rollback(self, persona: str, revision: str = "", *, actor: str) -> Published:
        """Withdraws a trial, or makes an earlier revision live again (by default the previous one).

        The previous revision is still loaded, so this is one assignment.

        Raises:
            NotFoundError, PublishError: as `publish`; also when there is nothing to go back to.
        """
        trial, live = self._table.trials.get(persona), self._table.live.get(persona)
        if trial is not None and live is not None and (not revision or live.revision.id.startswith(revision)):
            started = time.monotonic()
            await self._end_trial(trial, TrialDecision(promote=False, reason="asked for"), actor)
            return _published(live.revision, live, started)
        revision = revision or await asyncio.to_thread(self._previous, persona)
        return await self.publish(persona, revision, actor=actor, action="rollback")

    async def promote(self, persona: str, *, actor: str, reason: str = "asked for") -> Published:
        """Makes the revision on trial live. Raises NotFoundError when there is none."""
        started = time.monotonic()
        live, trial = self._table.live.get(persona), self._trial(persona)
        await self._end_trial(trial, TrialDecision(promote=True, reason=reason), actor)
        return _published(trial.loaded.revision, live, started)

    def hold(self, persona: str) -> Published:
        """Keeps a trial, until it or this process ends, from being promoted for lack of evidence against it.

        `promote` still works. Raises NotFoundError when there is no trial."""
        trial = self._trial(persona)
        trial.held = True
        return _published(trial.loaded.revision, self._table.live.get(persona), 0, share=trial.share, changed=False)

    def live(self, persona: str) -> str | None:
        """The live revision of a persona, loaded or not; None when there is none."""
        loaded, unloaded = self._table.live.get(persona), self._table.unloaded.get(persona)
        return loaded.revision.id if loaded else unloaded.id if unloaded else None

    def set_card(self, persona: str, card: dict[str, Any]) -> None:
        """Sets the persona's card in /v1/models."""
        self._table.cards[persona] = card

    def answered(self, loaded: Loaded | None, outcome: AnswerOutcome) -> None:
        """Counts the outcome of an answer; it may decide a trial."""
        trial = self._table.trials.get(loaded.revision.persona) if loaded else None
        if loaded is None or trial is None:
            return
        if loaded not in (trial.loaded, self._table.live.get(loaded.revision.persona)):
            return  # it began on a revision that was live earlier
        verdict = trial.see(loaded, outcome)
        if verdict is not None:
            task = asyncio.create_task(self._end_trial(trial, verdict, GATEWAY))
            self._endings.add(task)
            task.add_done_callback(self._endings.discard)

    def _trial(self, persona: str) -> Trial:
        trial = self._table.trials.get(persona)
        if trial is None:
            raise NotFoundError(f"{persona} has no revision on trial; start one with `understudy publish --canary 10%`")
        return trial

    async def count_votes(self, votes: VoteSource) -> None:
        """Counts votes on revisions on trial until cancelled."""
        while True:
            await asyncio.sleep(COUNT_VOTES)
            for persona, trial in list(self._table.trials.items()):
                verdict = trial.count(await asyncio.to_thread(votes.outcomes, persona, trial.began))
                if verdict is not None:
                    await self._end_trial(trial, verdict, GATEWAY)

    async def replay(
        self, *, engine_died: bool = False, on_listed: Callable[[int], None] = lambda count: None
    ) -> list[str]:
        """Loads and probes the live revisions in a fresh engine, those with a trial and the latest used first.

        Returns the personas that were refused. Those beyond the slots stay unloaded until their first request, and so
        do those whose files cannot be fetched now. A trial continues after a restart of the gateway, but not when the
        engine died during it.

        Args:
            on_listed: called with the number of personas to load before the first is: from then on every persona is
                known, and a request for one that is not loaded yet waits for it.

        Raises:
            EngineError: the engine fails; what was not reached stays unloaded.
        """
        self._table.clear()
        live = await asyncio.to_thread(self._registry.live)
        self._table.cards |= {persona.name: persona.card for persona, _ in live}
        self._table.unloaded = {persona.name: revision for persona, revision in live}
        names = [one.name for place, (one, _) in enumerate(live) if place < self._loader.capacity or one.candidate]
        on_listed(len(names))
        missing = []
        for name in names:
            if not await self._loaded_or_left(name, engine_died=engine_died):
                missing.append(name)
        if self._table.unloaded:
            log.info("%d personas stay unloaded until their first request", len(self._table.unloaded))
        return missing

    async def load_unloaded(self) -> None:
        """Tries every unloaded persona again. What fails only for now (the Hub, a GPU) leaves it unloaded."""
        for name in list(self._table.unloaded):
            try:
                await self._loaded_or_left(name)
            except EngineError as error:
                log.warning("%s is loaded later: %s", name, error)

    async def _loaded_or_left(self, name: str, *, engine_died: bool = False) -> bool:
        """Loads an unloaded persona, or leaves it for later; False if it is refused. Raises EngineError."""
        async with self._loader.locks[name]:
            try:
                await self._load_live(name, engine_died=engine_died)
            except (PublishError, NotFoundError) as error:
                log.error("%s could not be loaded: %s", name, error)
                self._table.unloaded.pop(name, None)
                return False
            except AdapterError as error:  # its files cannot be fetched now
                log.warning("%s is loaded later: %s", name, error)
        return True

    async def load_live(self, persona: str) -> None:
        """Loads an unloaded persona. Raises PublishError, NotFoundError or EngineError if it stays unloaded."""
        async with self._loader.locks[persona]:
            await self._load_live(persona)

    async def close(self) -> None:
        """Cancels the background tasks; the engine is about to end anyway."""
        for task in self._endings:
            task.cancel()
        await asyncio.gather(*self._endings, return_exceptions=True)
        await self._loader.close()

    async def _load_live(self, name: str, *, engine_died: bool = False) -> None:
        """Loads a persona and its trial if it is unloaded. Hold its lock. Raises as `load_live`."""
        if name not in self._table.unloaded:
            return
        persona = await asyncio.to_thread(self._registry.persona, name)
        if persona.live is None:
            return
        live = await asyncio.to_thread(self._registry.revision, persona.name, persona.live)
        self._flip(await self._loader.load_and_probe(live, GATEWAY))
        if persona.candidate is None:
            return
        candidate = await asyncio.to_thread(self._registry.revision, persona.name, persona.candidate)
        reason = "the engine died while it was on trial"
        if not engine_died:
            try:
                loaded = await self._loader.load_and_probe(candidate, GATEWAY)
                self._table.trials[persona.name] = Trial(loaded, persona.share, answers=self._trial_answers)
                return
            except (PublishError, NotFoundError) as error:
                reason = str(error)
            except (AdapterError, EngineError):
                self._table.unloaded[name] = live  # so that the trial is loaded with the next attempt
                raise
        await self._withdrawn(candidate, GATEWAY, {"reason": reason})

    async def _go_live(self, loaded: Loaded, actor: str, action: str, started: float) -> None:
        revision, persona = loaded.revision, loaded.revision.persona
        previous, seconds = self.live(persona), round(time.monotonic() - started, 3)
        detail = {"previous": previous, "seconds": seconds, "checks": loaded.checks}
        await asyncio.to_thread(self._registry.set_live, revision, actor=actor, action=action, detail=detail)
        self._flip(loaded)
        log.info("%s now answers with %s (was %s)", persona, short(revision.id), previous and short(previous))
        kind = "rolled_back" if action == "rollback" else "live"
        self._emit(RolloutEvent(kind=kind, persona=persona, revision=revision.id, previous=previous, seconds=seconds))

    async def _begin_trial(self, loaded: Loaded, share: float, actor: str, started: float) -> None:
        revision, persona = loaded.revision, loaded.revision.persona
        before = self._table.trials.get(persona)
        seconds = round(time.monotonic() - started, 3)
        detail = {"seconds": seconds, "checks": loaded.checks}
        await asyncio.to_thread(self._registry.set_trial, revision, share, actor=actor, detail=detail)
        if self._current(loaded):
            self._table.trials[persona] = Trial(loaded, share, answers=self._trial_answers)
        if before is not None and before.loaded is not loaded:
            self._loader.retire(before.loaded)
        log.info("%s: %.0f%% of the users get %s on trial", persona, 100 * share, short(revision.id))
        self._emit(RolloutEvent(kind="canary", persona=persona, revision=revision.id, share=share, seconds=seconds))

    async def _end_trial(self, trial: Trial, verdict: TrialDecision, actor: str) -> None:
        revision, persona = trial.loaded.revision, trial.loaded.revision.persona
        async with self._loader.locks[persona]:
            if self._table.trials.get(persona) is not trial:
                return  # it was ended in the meantime
            detail = {"reason": verdict.reason, **trial.figures()}
            log.info("%s: the trial of %s ends: %s", persona, short(revision.id), verdict.reason)
            if not verdict.promote:
                del self._table.trials[persona]
                self._loader.retire(trial.loaded)
                await self._withdrawn(revision, actor, detail)
                return
            previous = self._table.live[persona].revision.id
            detail = {"previous": previous, **detail}
            await asyncio.to_thread(self._registry.set_live, revision, actor=actor, action="promote", detail=detail)
            self._flip(trial.loaded)
            self._emit(RolloutEvent(kind="promoted", persona=persona, revision=revision.id, previous=previous))

    async def _withdrawn(self, revision: Revision, actor: str, detail: dict) -> None:
        await asyncio.to_thread(self._registry.end_trial, revision, actor=actor, detail=detail)
        reason = "manual" if actor != GATEWAY else "canary"
        self._emit(RolloutEvent(kind="withdrawn", persona=revision.persona, revision=revision.id, reason=reason))

    def _flip(self, loaded: Loaded) -> None:
        if not self._current(loaded):  # the engine was restarted; the next request loads it from the registry
            self._table.unloaded[loaded.revision.persona] = loaded.revision
            return
        for unneeded in self._table.flip(loaded):
            self._loader.retire(unneeded)

    def _current(self, loaded: Loaded) -> bool:
        return loaded.engine_generation == self._table.engine_generation

    def _is_published(self, candidate: Revision, share: float) -> bool:
        """Whether the candidate is live, or on trial with this share, already."""
        trial = self._table.trials.get(candidate.persona)
        if trial is not None:
            return trial.loaded.revision.id == candidate.id and trial.share == share
        live = self._table.live.get(candidate.persona)
        return live is not None and live.revision.id == candidate.id and share == 1

    def _require_live(self, candidate: Revision, live: Loaded | None) -> None:
        if live is None:
            raise PublishError(f"{candidate.persona} has no live revision to compare with; publish without --canary")
        if live.revision.id == candidate.id:
            raise PublishError(f"{candidate.served_name} is live already; there is nothing to try")

    def _previous(self, persona: str) -> str:
        if (revision := self._registry.previous(persona)) is not None:
            return revision
        raise NotFoundError(f"{persona} has no earlier revision to go back to; see `understudy history {persona}`")


def _published(
    revision: Revision, live: Loaded | None, started: float, *, share: float = 1.0, changed: bool = True
) -> Published:
    return Published(
        persona=revision.persona,
        revision=revision.id,
        previous=live.revision.id if live else None,
        changed=changed,
        seconds=round(time.monotonic() - started, 3) if changed else 0,
        share=share,
    )
