"""How many people and personas: calculated from measured costs, and simulated beside a load that was recorded.

python -m bench.capacity [--seconds 120] [--votes 300]

Reads docs/results/ (`python -m bench.record_trace` makes trace.jsonl there); writes capacity.json and a figure there,
and the tables of docs/capacity.md. Takes about a minute, and starts no engine.
"""

import argparse
import json
import random
import statistics
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from arena.battles.store import BattleAnswer, BattleStore
from arena.votes.votes import cast_vote
from bench.capacity_page import write_page
from bench.demand import Assumed, Crowd, Limits, Measured, answers_per_second, needs, popularity, size
from bench.figures import save_lines
from bench.machine import RESULTS, save
from bench.simulation import Cost, Plan, Simulation
from bench.slot_rule import Request
from bench.traces import calibrate, read_trace, replay
from serve.engine.vllm import slots_for
from understudy.bases import TINY_DIR
from understudy.config.settings import Settings
from understudy.registry.database import open_database

KV_MIB = 1024
"""VLLM_CPU_KVCACHE_SPACE of the tiny base (serve.engine.vllm)."""
KV_DTYPE = 4
"""Bytes of a number: the tiny base is served in float32."""
CROWDS = ((100, 10), (1_000, 100), (10_000, 1_000), (100_000, 1_000))
"""Users and personas."""
CHAT = (1020, 129)
"""Median tokens of prompts and answers of a chat service (Splitwise, ISCA 2024, arXiv:2311.18677, section III)."""
SHARES = (0.5, 0.75, 1.0, 1.5, 2.0)
"""Of the calculated replicas, in the simulation."""
WARM = 0.25
"""Share of the simulated time that is not looked at."""


def main() -> None:
    """Calculates, simulates, prints the tables, writes capacity.json, its figure and the page's tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=120, help="simulated seconds of each case (120)")
    parser.add_argument("--votes", type=int, default=300, help="votes that are cast to see what one costs (300)")
    arguments = parser.parse_args()
    trace, about = read_trace(), _result("trace")
    engine = Plan(slots=about["slots"]["calibrate"])
    cost = calibrate(trace["calibrate"], engine, prompt=about["prompt_token_s"], load=about["cold_load_s"])
    measured, assumed, limits = measure(cost, arguments.votes), Assumed(), shipped()
    lengths = [(r.prompt, r.tokens) for part in trace.values() for r in part]
    mean = tuple(statistics.mean(column) for column in zip(*lengths, strict=True))
    figures: dict[str, Any] = {
        "measured": asdict(measured),
        "assumed": asdict(assumed),
        "limits": asdict(limits),
        "lengths": {"answers": len(lengths), "prompt": mean[0], "answer": mean[1]},
        "checks": [check(part, rows, cost, about["slots"][part]) for part, rows in trace.items()],
        "sizes": [_size(Crowd(*crowd, *kind), measured, assumed, limits) for kind in (mean, CHAT) for crowd in CROWDS],
    }
    crowd = Crowd(*CROWDS[2], *mean)
    replicas = size(crowd, measured, assumed, limits).replicas
    figures["simulated"] = list(simulate(crowd, lengths, cost, assumed, limits, replicas, arguments.seconds))
    print(save("capacity", figures))
    print(_draw(figures["simulated"]))
    for table in write_page(figures):
        _print(table)


def measure(cost: Cost, votes: int) -> Measured:
    """The measured costs, from the results of other benches; the vote's is measured here."""
    streamed = [row for row in _result("serve")["rows"] if row["stream"]]
    shape = json.loads((TINY_DIR / "config.json").read_text())
    heads = shape["num_key_value_heads"] * shape["head_dim"]
    return Measured(
        cost=cost,
        sequences=max(row["concurrency"] for row in streamed),
        gateway_piece_s=max(streamed, key=lambda row: row["concurrency"])["gateway_cpu_us_per_piece"] / 1e6,
        slot_mib=_result("slots")["memory"]["mib_per_slot"],
        engine_mib=_result("slots")["memory"]["engine_mib_8_slots"],
        publish_s=_result("publishes")["median_seconds"],
        vote_s=_vote(votes),
        kv_bytes=2 * shape["num_hidden_layers"] * heads * KV_DTYPE,
    )


def shipped() -> Limits:
    """The limits of one of each, with the settings that we ship."""
    settings = Settings()
    return Limits(settings.max_concurrent, settings.hub_poll, slots_for(settings, 10**6), KV_MIB)


def check(part: str, recorded: Sequence[Request], cost: Cost, slots: int) -> dict[str, Any]:
    """What was recorded beside what the simulation makes of the same arrivals."""
    again = replay(recorded, cost, Plan(slots=slots))
    row: dict[str, Any] = {"part": part, "slots": slots, "answers": len(recorded)}
    for name, rows in (("recorded", recorded), ("simulated", again)):
        row[name] = _times(rows)
    return row


def simulate(
    crowd: Crowd,
    lengths: Sequence[tuple[int, int]],
    cost: Cost,
    assumed: Assumed,
    limits: Limits,
    replicas: int,
    seconds: float,
) -> Iterator[dict[str, Any]]:
    """The crowd with too few replicas, enough and many, sent here and there; then with fewer and more slots."""
    cases = [(share, routing, limits.slots) for routing in ("random", "least", "aware") for share in SHARES]
    cases += [(1.0, routing, slots) for routing in ("random", "aware") for slots in (8, 128)]
    for share, routing, slots in cases:
        plan = Plan(max(1, round(share * replicas)), slots, routing=routing)
        ended = talk(crowd, lengths, cost, plan, assumed, seconds)
        looked = [r for r in ended if r.arrival > WARM * seconds]
        yield {
            "replicas": plan.replicas,
            "share": share,
            "routing": routing,
            "slots": slots,
            "answers": len(looked),
            **_times(looked),
            "cold": statistics.mean(r.cold for r in looked),
            "at_once": sum(r.end - r.began for r in looked) / (seconds * (1 - WARM)) / plan.replicas,
            "answers_per_second": len(looked) / (seconds * (1 - WARM)),
        }


def talk(
    crowd: Crowd, lengths: Sequence[tuple[int, int]], cost: Cost, plan: Plan, assumed: Assumed, seconds: float
) -> list[Request]:
    """Everybody asks, reads, thinks and asks again, of a persona of their own choice, until `seconds` are over."""
    chance = random.Random(0)
    names = [f"p{number}" for number in range(crowd.personas)]
    favourites = chance.choices(names, popularity(crowd.personas, assumed.skew), k=crowd.users)

    def ask(user: int, now: float) -> Request | None:
        moment = now + chance.expovariate(1 / assumed.think_s)
        prompt, tokens = chance.choice(lengths)
        return Request(moment, favourites[user], prompt, tokens, user) if moment < seconds else None

    first = [request for user in range(crowd.users) if (request := ask(user, 0.0))]
    return Simulation(cost, plan).run(first, lambda over: ask(over.user, over.end))


def _size(crowd: Crowd, measured: Measured, assumed: Assumed, limits: Limits) -> dict[str, Any]:
    sized = size(crowd, measured, assumed, limits)
    parts = needs(crowd, sized, measured, assumed, limits)
    best = answers_per_second(measured.cost, crowd, measured.sequences, limits.slots)
    rows = [{**asdict(part), "share": part.share} for part in parts]
    return {"crowd": asdict(crowd), "one_engine": best, **asdict(sized), "needs": rows}


def _times(requests: Sequence[Request]) -> dict[str, float]:
    """First tokens and whole answers in seconds, and tokens a second."""
    first = sorted(r.first - r.arrival for r in requests)
    whole = sorted(r.end - r.arrival for r in requests)
    span = max(r.end for r in requests) - min(r.arrival for r in requests)
    return {
        "first_p50_s": first[len(first) // 2],
        "first_p90_s": first[int(0.9 * len(first))],
        "first_p99_s": first[int(0.99 * len(first))],
        "whole_p50_s": whole[len(whole) // 2],
        "whole_p90_s": whole[int(0.9 * len(whole))],
        "tokens_per_second": sum(r.tokens for r in requests) / span,
    }


def _vote(votes: int) -> float:
    """Seconds of a battle and its vote in SQLite, at the median."""
    times = []
    with tempfile.TemporaryDirectory() as folder:
        engine = open_database(f"sqlite:///{folder}/votes.db")
        store = BattleStore(engine)
        for number in range(votes):
            began, session = time.perf_counter(), f"visitor {number}"
            battle, ticket = store.create(
                prompt="Hello.", persona="p0", session=session, temperature=0.7, max_tokens=200
            )
            store.finish(battle.id, BattleAnswer("Good day."), BattleAnswer("Hello."))
            cast_vote(engine, ticket, "left", session=session)
            times.append(time.perf_counter() - began)
        engine.dispose()
    return statistics.median(times)


def _draw(rows: Sequence[dict[str, Any]]) -> Path:
    usual = rows[: 3 * len(SHARES)]
    lines = {
        routing: [(row["replicas"], 1000 * row["first_p99_s"]) for row in usual if row["routing"] == routing]
        for routing in ("random", "least", "aware")
    }
    title = f"{CROWDS[2][0]:,} people, {CROWDS[2][1]:,} personas: the slowest first tokens"
    up = "first token, 99th percentile, ms"
    return save_lines("capacity", title, lines, across="engines", up=up, logarithmic="y")


def _result(name: str) -> dict[str, Any]:
    return json.loads((RESULTS / f"{name}.json").read_text())


def _print(table: tuple[str, list[list[str]]]) -> None:
    title, (headers, *rows) = table
    shown = Table(*headers, title=title)
    for row in rows:
        shown.add_row(*row)
    Console(width=160).print(shown)


if __name__ == "__main__":
    main()
