"""The model of a ZeroGPU Space as what revisions are loaded into: an adapter is a folder that a call loads."""

import asyncio
import logging
import shutil
from collections.abc import Generator, Sequence
from pathlib import Path
from typing import Any

from serve.engine.adapter_engine import ProbeReport
from serve.hub_sync.background import run_in_background
from serve.hub_sync.follow_config import read_following
from serve.rollout.judgement import NO_EFFECT, PROMPTS, judge_golden, odd_answers
from serve.rollout.validate import validate
from space.backends.errors import gpu_trouble
from space.backends.zerogpu_model import BASE_ROW, ON_ZEROGPU, AdapterModel, Batch, BatchSampling
from understudy.bases import Base
from understudy.config.settings import Settings
from understudy.errors import EngineError
from understudy.registry.adapters import COMMIT
from understudy.registry.hub import wanted_commit
from understudy.registry.hub_registry import HubRegistry, stored_commit
from understudy.registry.persona_card import Card

log = logging.getLogger("space.zerogpu")

MAX_PROBED, PROBE_TOKENS, PROBE_SECONDS = 4, 96, 300.0


class ModelAdapters:
    """An AdapterEngine: the model, and the folders of the adapters that may be asked."""

    def __init__(self, model: AdapterModel, base: Base, max_rank: int) -> None:
        self.model, self.base, self.max_rank, self.capacity = model, base, max_rank, model.personas(max_rank)
        self._folders: dict[str, str] = {}
        """By the adapter's name in the model."""

    async def load(self, name: str, folder: Path) -> None:
        """Lets calls load it. Raises EngineError: there is no memory for another one."""
        if len(self._folders) >= 3 * self.capacity:
            raise EngineError(f"{self.capacity} personas of rank {self.max_rank} are all that fit here")
        self._folders[name] = str(folder)

    async def unload(self, name: str, folder: Path) -> None:
        """Forgets the adapter and deletes its folder: a commit of the Hub can be fetched again."""
        self._folders.pop(name, None)
        if COMMIT.fullmatch(folder.name) and str(folder) not in self._folders.values():
            await asyncio.to_thread(shutil.rmtree, folder, ignore_errors=True)

    async def probe(self, name: str, card: dict[str, Any], live: str | None) -> ProbeReport:
        """Asks the candidate and, in the same batch, the live adapter (or the base) a few prompts of the card.

        Without a GPU for it the first revision passes, and the history says so.

        Raises:
            EngineError: it cannot be asked now: there is no GPU for it, and a live revision; or the call was ended.
        """
        return await run_in_background(PROBE_SECONDS, self._probe, name, Card.model_validate(card), live)

    def _probe(self, name: str, card: Card, live: str | None) -> ProbeReport:
        golden = [one.model_dump() for one in card.golden[:MAX_PROBED]]
        asked = [one["prompt"] for one in golden] or card.prompts[:MAX_PROBED] or list(PROMPTS)
        prompts = [self.model.encode([{"role": "user", "content": prompt}]) for prompt in asked]
        names = [name] * len(asked) + [live or BASE_ROW] * len(asked)
        sampling = BatchSampling(card.sampling.temperature or 0.0, PROBE_TOKENS, seed=0)
        try:
            *_, last = self.answers(prompts * 2, names, sampling)
        except Exception as error:
            return self._not_answered(name, error, live)
        texts = [text for _, text in last]
        mine, others = dict(zip(asked, texts, strict=False)), dict(zip(asked, texts[len(asked) :], strict=True))
        figures, problems = judge_golden(golden, mine, others if live else {})
        problems = odd_answers(mine, of_card=bool(golden or card.prompts)) + problems
        problems += [NO_EFFECT] if live is None and mine == others else []
        return ProbeReport(problems=problems, figures={"prompts": len(asked), **figures})

    def _not_answered(self, name: str, error: Exception, live: str | None) -> ProbeReport:
        """What follows for a candidate from a call that failed."""
        kind, cause = gpu_trouble(error, on_zerogpu=ON_ZEROGPU), getattr(error, "message", type(error).__name__)
        if kind == "failed":  # with what PEFT or the model do not take
            return ProbeReport(problems=[f"the model does not answer with it: {cause}"], figures={})
        if kind != "ended" and live is None:
            return ProbeReport(problems=[], figures={"not_asked": cause})
        self._folders.pop(name)
        raise EngineError(f"{name} is proved later: {cause}", passing=True) from error

    def answers(
        self, prompts: Sequence[list[int]], names: Sequence[str], sampling: BatchSampling
    ) -> Generator[list[tuple[list[int], str]]]:
        """Yields tokens and text of all rows so far, from one call; a row is an adapter's name, or BASE_ROW."""
        folders = self._folders
        tokens: list[list[int]] = [[] for _ in prompts]
        wanted = {name: folders[name] for name in names if name != BASE_ROW}
        pieces = self.model.generate(Batch(prompts, names, wanted, list(folders), sampling))
        try:
            for piece in pieces:
                for all_of_row, new in zip(tokens, piece, strict=True):
                    all_of_row += new
                yield [(row, self.model.decode(row)) for row in tokens]
        finally:
            pieces.close()


def place(adapters: ModelAdapters, registry: HubRegistry, settings: Settings) -> None:
    """Fetches, validates and places what was live, or is wanted now: what is placed when the program starts is there in
    every call. Nothing becomes live by it."""
    live = {persona.name: revision for persona, revision in registry.live()}
    for name, follow in read_following(settings.personas_file).items() if settings.personas_file else ():
        try:
            if (revision := live.get(name)) is None:
                wanted = wanted_commit(follow.repo, follow.follow, endpoint=registry.endpoint)
                revision = stored_commit(registry, name, follow.repo, wanted, follow.actor, registry.endpoint)
            folder = registry.path(revision)
            if not validate(folder, adapters.base, max_rank=adapters.max_rank):
                adapters.model.load({revision.served_name: str(folder)})
        except Exception as error:  # the Space starts without it, and the first poll tells people why
            log.warning("%s: %s", name, error)
