"""One engine behind our gateway and many adapters on it: speed of mixes, swaps under load, memory of a slot."""

import asyncio
import re
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from itertools import count, product
from pathlib import Path
from typing import Any

import numpy as np

from bench.gateway import Stage, memory, open_stage
from bench.goals import Goal
from bench.gpu.plan import Plan
from bench.serving import swap
from bench.serving.adapters import random_adapter
from bench.serving.load import prompts_of
from bench.serving.peers.matrix import Load, Sample, measure, ratio, summarise
from bench.serving.peers.servers import OURS, of_stage
from bench.serving.swap_ways import medians
from understudy.bases import Base
from understudy.registry.records import Revision

RANK = 8
SCALE = 0.03
SPARE = 2
"""Slots for a candidate and for a revision that is being drained."""
FEW_SLOTS = 8
CONTEXT = 2048
SAMPLED = 1.0
"""Temperature: as the random base is meant."""
PROMPTS = 5000
WRITERS = 8


def serve(plan: Plan, base: Base, home: Path) -> dict[str, Any]:
    """Everything that one start of the engine shows: rows of the mixes, of the swaps, and their goals."""
    most = max(plan.adapters)
    with open_stage(home / "many", **_settings(base, most + SPARE)) as stage:
        voices = _voices(home / "adapters", base, most + plan.swaps)
        names = [_publish(stage, f"p{number}", voices).persona for number in range(most)]
        print(f"gpu: {most} adapters are live")
        grid = list(product(plan.adapters, plan.people))
        load = Load(prompts_of(base, plan.prompt, PROMPTS), plan.tokens, 1.0, SAMPLED)
        samples = asyncio.run(measure(of_stage(stage), names, grid, plan.rounds, load, print))
        revisions = [_candidate(stage, names[0], voices) for _ in range(plan.swaps)]
        swaps = asyncio.run(swap.measure(stage, names[0], revisions, plan.streams, {"temperature": SAMPLED}))
        loaded = loaded_mib(stage)
    return {
        "rows": summarise(samples),
        "swaps": swaps,
        "swap": medians(swaps),
        "many": {"slots": most + SPARE, "mib": loaded},
        "goals": [*goals(plan, samples), *swap.goals(swaps)],
    }


def few_slots(base: Base, home: Path) -> dict[str, Any]:
    """What an engine with few slots takes."""
    with open_stage(home / "few", **_settings(base, FEW_SLOTS)) as stage:
        return {"slots": FEW_SLOTS, "mib": loaded_mib(stage)}


def goals(plan: Plan, samples: Sequence[Sample]) -> list[Goal]:
    """How much of the speed remains with one adapter, with some and with many."""
    none, one, some, many = plan.adapters

    def of(more: int, fewer: int, people: int) -> float | None:
        return ratio(samples, ((more, people), OURS), ((fewer, people), OURS))

    return [
        goal
        for people in plan.people
        for goal in (
            Goal(f"one adapter of the base, {people} at once", of(one, none, people), 0.95),
            Goal(f"{some} mixed of the base, {people} at once", of(some, none, people), 0.90),
            Goal(f"{many} mixed of {some}, {people} at once", of(many, some, people), 0.945),
        )
    ]


def loaded_mib(stage: Stage) -> float:
    """Weights and slots: on a GPU what vLLM says that it loaded, on a CPU the engine's own memory."""
    said = loaded_gib((stage.settings.logs_dir / "engine.log").read_text())
    return memory(stage.processes()["engine"]) if said is None else 1024 * said


def loaded_gib(log: str) -> float | None:
    """What vLLM's log says about a GPU's memory after loading; the rest is for keys and values, however much it is."""
    found = re.findall(r"Model loading took ([\d.]+) GiB", log)
    return float(found[-1]) if found else None


def _settings(base: Base, slots: int) -> dict[str, Any]:
    return {
        "base": base.name,
        "slots": slots,
        "max_lora_rank": RANK,
        "max_model_len": CONTEXT,
        "start_timeout": 500,
        "canary_answers": 10**6,
    }


def _voices(folder: Path, base: Base, needed: int) -> Iterator[Path]:
    """Folders of random adapters, without end; those that are needed are there at once."""
    make = partial(_voice, folder, base)
    with ThreadPoolExecutor(WRITERS) as pool:
        list(pool.map(make, range(needed)))
    return map(make, count())


def _voice(folder: Path, base: Base, number: int) -> Path:
    place = folder / str(number)
    if place.exists():
        return place
    return random_adapter(place, seed=number, rank=RANK, scale=SCALE, base=base, dtype=np.float16)


def _push(stage: Stage, persona: str, voices: Iterator[Path]) -> Revision:
    return stage.registry.push(persona, next(voices), card={"title": persona}, actor="bench")


def _publish(stage: Stage, persona: str, voices: Iterator[Path]) -> Revision:
    """The next voice that the gateway takes: of random ones it may refuse some, for answers that end at once."""
    for _ in range(5):
        revision = _push(stage, persona, voices)
        try:
            stage.admin("publish", persona=persona, revision=revision.id)
        except SystemExit as refused:
            print(f"gpu: {refused}")
            continue
        return revision
    raise SystemExit(f"gpu: {persona}: five random adapters were refused")


def _candidate(stage: Stage, persona: str, voices: Iterator[Path]) -> Revision:
    """A new revision of a persona, of a voice that the gateway has taken under another name."""
    taken = _publish(stage, "rehearsed", voices)
    return stage.registry.push(persona, stage.registry.path(taken), card={"title": persona}, actor="bench")
