"""Records what load does on our stage: a line for each answer, to prompts of recipes, that ended by itself.

python -m bench.record_trace [--seconds 8] [--rates 4 8 12 16]

Writes docs/results/trace.jsonl (the answers) and docs/results/trace.json (machine, slots, what a cold adapter costs).
People arrive at random, ever more of them. `python -m bench.capacity` works out from the first part what a step of the
engine costs, and is compared with the others.
"""

import argparse
import asyncio
import itertools
import json
import random
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import aiohttp
import httpx
from rich.console import Console
from rich.table import Table

from bench.machine import save
from bench.slot_rule import Request
from bench.stage import Stage, open_stage, train, vary
from bench.traces import write_trace
from understudy.config.recipe import load_recipe
from understudy.data.recipe_rows import heldout_examples
from understudy.registry.registry import Revision

RECIPES = ("email-copy", "stand-up")
VARIANTS = 3
"""Personas of each recipe."""
SKEW = 1.0
"""Zipf's exponent of the personas' popularity; the base is asked as often as the second of them."""
MOST_TOKENS = 200
FEW_SLOTS = 4
"""For six personas; one of the slots is kept for probes."""
COLD = 8
"""Adapters that are loaded cold."""
NOUNS = ("kettle", "lamp", "bicycle", "blanket", "puzzle", "drum", "teapot", "telescope")
WORDS = (20, 120, 220, 320, 420)
"""Lengths of prompts that are read alone."""


def main() -> None:
    """Records, prints a table, writes the trace."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=8, help="length of each rate (8)")
    parser.add_argument("--rates", type=float, nargs="+", default=[4, 8, 12, 16], help="arrivals a second")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder)
        trained = [train(name, home) for name in RECIPES]
        with open_stage(home) as stage:
            chats = _publish(stage, trained)
            slots = {"calibrate": stage.status()["slots"]["capacity"]}
            asyncio.run(_load(stage, chats, [arguments.rates[0]], 2, seed=0))  # warms up
            parts = _alternating(stage, chats, arguments.rates, arguments.seconds)
            prompt_s = _prompt(stage)
            cold = [_cold(stage, vary(stage.registry, trained[0], 100 + n)) for n in range(COLD)]
        slots["check"] = slots["calibrate"]
        with open_stage(home, slots=FEW_SLOTS) as stage:
            slots["few slots"] = stage.status()["slots"]["capacity"]
            asyncio.run(_load(stage, chats, [arguments.rates[0]], 2, seed=0))
            rates = arguments.rates[:2]
            parts["few slots"] = asyncio.run(_load(stage, chats, rates, 2 * arguments.seconds, seed=3))
    write_trace(parts)
    _print(parts)
    figures = {
        "rates": arguments.rates,
        "seconds": arguments.seconds,
        "slots": slots,
        "prompt_token_s": prompt_s,
        "cold_load_s": statistics.median(cold),
        "cold_loads_s": cold,
    }
    print(save("trace", figures))


def _publish(stage: Stage, trained: list[Revision]) -> dict[str, list[list[dict[str, str]]]]:
    """Puts the personas on stage; returns the chats of each name, the base's under an empty one."""
    chats: dict[str, list[list[dict[str, str]]]] = {}
    for revision in trained:
        examples = heldout_examples(load_recipe(revision.persona, stage.settings.recipes_dir))
        asked = [example.prompt for example in examples]
        for number in range(VARIANTS):
            name = f"{revision.persona}-{number}"
            stage.admin("publish", persona=name, revision=vary(stage.registry, revision, number, name).id)
            chats[name] = asked
        chats[""] = chats.get("", []) + asked
    return chats


def _alternating(
    stage: Stage, chats: dict[str, list[list[dict[str, str]]]], rates: list[float], seconds: float
) -> dict[str, list[Request]]:
    """Both parts rate by rate in turn, so that a slow minute of the machine is in both; each on a clock of its own."""
    parts: dict[str, list[Request]] = {"calibrate": [], "check": []}
    for number, rate in enumerate(rates):
        for seed, answers in enumerate(parts.values(), 1):
            after = max((answer.end for answer in answers), default=-1.0) + 1.0
            for answer in asyncio.run(_load(stage, chats, [rate], seconds, seed=10 * number + seed)):
                answer.arrival, answer.first, answer.end = (
                    moment + after for moment in (answer.arrival, answer.first, answer.end)
                )
                answers.append(answer)
    return parts


async def _load(
    stage: Stage, chats: dict[str, list[list[dict[str, str]]]], rates: list[float], seconds: float, *, seed: int
) -> list[Request]:
    """Each rate for `seconds`; an answer that fails is an error, for a trace with holes is none."""
    chance = random.Random(seed)
    names = sorted(name for name in chats if name)
    random.Random(0).shuffle(names)  # who is popular stays so
    weights = [1 / rank**SKEW for rank in range(1, len(names) + 1)] + [1 / 2**SKEW]
    arrivals, now = list[float](), 0.0
    for number, rate in enumerate(rates, 1):
        while (now := now + chance.expovariate(rate)) < number * seconds:
            arrivals.append(now)
        now = number * seconds
    people = [(at, chance.choices([*names, ""], weights)[0]) for at in arrivals]
    connector = aiohttp.TCPConnector(limit=0)
    async with aiohttp.ClientSession(connector=connector, timeout=aiohttp.ClientTimeout(total=120)) as session:
        start = time.perf_counter() + 0.1
        asked = [_ask(session, stage.url, at, name, chance.choice(chats[name]), start) for at, name in people]
        return await asyncio.gather(*asked)


async def _ask(
    session: aiohttp.ClientSession, url: str, at: float, persona: str, chat: list[dict[str, str]], start: float
) -> Request:
    """One answer, asked for `at` seconds after `start`, to its end."""
    body: dict[str, Any] = {
        "model": persona or "base",
        "messages": chat,
        "max_tokens": MOST_TOKENS,
        "temperature": 0.7,
        "stream": True,
        "stream_options": {"include_usage": True},
    }
    await asyncio.sleep(start + at - time.perf_counter())
    came, first, last, usage = time.perf_counter(), 0.0, 0.0, None
    async with session.post(f"{url}/v1/chat/completions", json=body) as response:
        if response.status != 200:
            raise SystemExit(f"{persona or 'base'}: {response.status}: {await response.text()}")
        async for line in response.content:
            if b'"content":"' in line and (last := time.perf_counter()) and not first:
                first = last
            if b'"usage":{' in line:
                usage = json.loads(line.removeprefix(b"data: "))["usage"]
    if usage is None or not first:
        raise SystemExit(f"{persona or 'base'}: an answer without tokens or without usage")
    answer = Request(came - start, persona, usage["prompt_tokens"], usage["completion_tokens"])
    answer.first, answer.end = first - start, last - start
    return answer


def _prompt(stage: Stage) -> float:
    """Seconds that one more token of a prompt costs, when nobody else is there."""
    chance, lengths, times = random.Random(9), list[float](), list[float]()
    with httpx.Client(base_url=stage.url, timeout=60) as client:
        for words in WORDS * 6:  # drawn anew, so that nothing is in the prefix cache
            text = " ".join(chance.choice(NOUNS) for _ in range(words))
            body = {"model": "base", "messages": [{"role": "user", "content": text}], "max_tokens": 1}
            began = time.perf_counter()
            answer = client.post("/v1/chat/completions", json=body).raise_for_status().json()
            times.append(time.perf_counter() - began)
            lengths.append(answer["usage"]["prompt_tokens"])
    # Theil's and Sen's slope: the median over all pairs, which a pause of the machine does not move.
    pairs = itertools.combinations(zip(lengths, times, strict=True), 2)
    return max(0.0, statistics.median((b[1] - a[1]) / (b[0] - a[0]) for a, b in pairs if b[0] != a[0]))


def _cold(stage: Stage, revision: Revision) -> float:
    """Seconds that a question to an adapter takes longer when it lies on disk only than right afterwards."""
    name = revision.served_name
    body = {"model": name, "messages": [{"role": "user", "content": "Hello."}], "max_tokens": 1}
    times = [time.perf_counter()]
    folder = str(stage.registry.path(revision))
    load = {"lora_name": name, "lora_path": folder}
    with httpx.Client(base_url=stage.engine_url, timeout=60) as client:
        client.post("/v1/load_lora_adapter", json=load).raise_for_status()
        for _ in range(2):
            client.post("/v1/chat/completions", json=body).raise_for_status()
            times.append(time.perf_counter())
        client.post("/v1/unload_lora_adapter", json={"lora_name": name}).raise_for_status()
    return max(0.0, (times[1] - times[0]) - (times[2] - times[1]))


def _print(parts: dict[str, list[Request]]) -> None:
    headers = ("part", "answers", "tokens an answer", "tok/s", "first token p50 s", "p99 s")
    table = Table(*headers, title="Recorded")
    for part, answers in parts.items():
        tokens = [a.tokens for a in answers]
        waits = sorted(a.first - a.arrival for a in answers)
        span = max(a.end for a in answers)
        figures = (statistics.mean(tokens), sum(tokens) / span, waits[len(waits) // 2], waits[int(0.99 * len(waits))])
        table.add_row(part, str(len(answers)), *[f"{x:.3g}" for x in figures])
    Console().print(table)


if __name__ == "__main__":
    main()
