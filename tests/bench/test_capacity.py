"""The simulation against what queueing theory knows exactly, its slots against the gateway's, and the calculation."""

import asyncio
import heapq
import itertools
import json
import math
import random
import statistics
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.capacity import talk
from bench.capacity_page import PAGE, filled, made
from bench.demand import (
    Assumed,
    Crowd,
    Limits,
    Measured,
    answers_per_second,
    distinct,
    needs,
    popularity,
    size,
)
from bench.machine import RESULTS
from bench.simulation import Cost, Plan, Replica, Simulation
from bench.slot_rule import Request, SlotRule
from bench.traces import anew, calibrate, read_trace, replay, write_trace
from serve.engine.fair_scheduler import FairScheduler

STEP = 0.001
"""Short against an answer, so that an answer's length in steps is as good as exponential."""


def poisson(rate: float, number: int, tokens: float, *, seed: int, personas: int = 0) -> Iterator[Request]:
    """Questions at random, with answers of exponential length of `tokens` steps at the mean."""
    chance, now = random.Random(seed), 0.0
    for _ in range(number):
        now += chance.expovariate(rate)
        persona = f"p{chance.randrange(personas)}" if personas else ""
        yield Request(now, persona, 0, 1 + int(chance.expovariate(1 / tokens)))


def erlang_c(servers: int, offered: float) -> float:
    """The share that waits in M/M/c, for an offered load in erlang."""
    last = offered**servers / math.factorial(servers) * servers / (servers - offered)
    return last / (sum(offered**k / math.factorial(k) for k in range(servers)) + last)


# --- queueing theory ------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("busy", [0.3, 0.6])
def test_one_answer_at_a_time_waits_as_m_m_1_does(busy: float) -> None:
    service = 0.2
    plan = Plan(sequences=1)
    ended = Simulation(Cost(STEP), plan).run(poisson(busy / service, 50_000, service / STEP, seed=1))
    waits = [r.began - r.arrival for r in ended]
    assert statistics.mean(waits) == pytest.approx(busy * service / (1 - busy), rel=0.06)


@pytest.mark.parametrize(("servers", "busy"), [(2, 0.6), (4, 0.7)])
def test_a_batch_of_so_many_waits_as_m_m_c_does(servers: int, busy: float) -> None:
    service = 0.4
    plan = Plan(sequences=servers)
    rate = servers * busy / service
    ended = Simulation(Cost(STEP), plan).run(poisson(rate, 50_000, service / STEP, seed=2))
    waits = [r.began - r.arrival for r in ended]
    # One who finds room still waits for the step that is under way; who queued for room joins as it is made.
    wanted = erlang_c(servers, servers * busy) * service / (servers * (1 - busy))
    assert statistics.mean(waits) == pytest.approx(wanted, rel=0.08, abs=STEP)


@pytest.mark.parametrize("servers", [1, 16])
def test_each_waits_as_long_as_those_before_it_make_it_wait(servers: int) -> None:
    """Kiefer's and Wolfowitz's recursion (Lindley's for one), answer by answer, in a busy queue."""
    requests = list(poisson(4.5 * servers, 4_000, 200, seed=8))
    Simulation(Cost(STEP), Plan(sequences=servers)).run(requests)
    free = [0.0] * servers
    late = []
    for request in requests:
        begins = max(request.arrival, heapq.heappop(free))
        late.append(request.began - begins)
        heapq.heappush(free, begins + request.tokens * STEP)
    # Joining at the next step only costs half a step at the mean, more when such delays add up; alone, nothing.
    assert statistics.mean(late) == pytest.approx(0 if servers == 1 else STEP / 2, abs=STEP / 4)
    assert max(map(abs, late)) < 20 * STEP


def test_an_adapter_is_loaded_as_often_as_lru_misses() -> None:
    weights = [1 / rank for rank in range(1, 7)]
    shares, kept = [w / sum(weights) for w in weights], 3
    chance = random.Random(3)
    asked = chance.choices(range(6), shares, k=40_000)
    requests = [Request(float(n), f"p{persona}", 0, 1) for n, persona in enumerate(asked)]  # one after another
    ended = Simulation(Cost(STEP), Plan(slots=kept)).run(requests)
    hits = 0.0
    for stack in itertools.permutations(range(6), kept):  # King (1971): the probability of each order of the stack
        probability, left = 1.0, 1.0
        for one in stack:
            probability *= shares[one] / left
            left -= shares[one]
        hits += probability * sum(shares[one] for one in stack)
    assert 1 - statistics.mean(r.cold for r in ended) == pytest.approx(hits, abs=0.01)


# --- what is always so ----------------------------------------------------------------------------------------------
ROUTINGS = ("random", "least", "aware")


@given(
    seed=st.integers(0, 10_000),
    replicas=st.integers(1, 4),
    slots=st.integers(1, 4),
    sequences=st.integers(1, 6),
    kv_tokens=st.sampled_from([30, 100, math.inf]),
    routing=st.sampled_from(ROUTINGS),
)
def test_every_request_ends_once_and_gets_all_its_tokens_one_a_step(
    seed: int, replicas: int, slots: int, sequences: int, kv_tokens: float, routing: str
) -> None:
    cost = Cost(0.01, 0.001, 0.002, 0.0001, 0.05, 0.003)
    plan = Plan(replicas, slots, sequences, 50, kv_tokens, routing)
    requests = list(poisson(30, 60, 8, seed=seed, personas=5))
    simulation = Simulation(cost, plan, seed=seed)
    ended = simulation.run(requests)
    assert sorted(map(id, ended)) == sorted(map(id, requests))
    assert [r.end for r in ended] == sorted(r.end for r in ended)
    for r in ended:
        assert r.arrival <= r.began < r.first <= r.end
        assert r.end - r.first >= (r.tokens - 1) * cost.seconds(1, 0) - 1e-9
        assert r.first - r.began <= cost.seconds(sequences, slots, 0, slots) + cost.overhead + 1e-9
    assert all(not replica.load and replica.idle and not replica.ready for replica in simulation.replicas)
    assert all(len(replica.loaded) <= slots and not replica.slots.running for replica in simulation.replicas)
    assert sum(r.cold for r in ended) >= len({r.persona for r in ended}), "each is loaded somewhere first"


def test_a_step_is_paid_for_what_is_in_it() -> None:
    cost = Cost(step=1.0, sequence=0.1, adapter=0.01, prompt=0.001, load=0.5)
    together = [Request(0.0, "a", 10, 2), Request(0.0, "b", 20, 1), Request(0.0, "", 30, 3)]
    replica = Replica(cost, Plan())
    for request in together:
        assert replica.slots.enter(request, 0.0)
        replica.ready.append(request)
    first = 1.0 + 3 * 0.1 + 2 * 0.01 + 60 * 0.001 + 2 * 0.5
    assert replica.begin(0.0) == pytest.approx(first)
    assert replica.finish(first) == [together[1]]
    second = first + 1.0 + 2 * 0.1 + 0.01
    assert replica.begin(first) == pytest.approx(second)
    assert replica.finish(second) == [together[0]]
    assert replica.begin(second) == pytest.approx(second + 1.1), "the base alone needs no adapter"


def test_people_who_wait_for_their_answers_never_ask_twice_at_once() -> None:
    chance, asked = random.Random(4), list[Request]()

    def ask(user: int, now: float) -> Request | None:
        request = Request(now + chance.expovariate(1.0), "", 0, 20, user=user)
        asked.append(request)
        return request if request.arrival < 200 else None

    cost = Cost(0.01)
    first = [r for user in range(10) if (r := ask(user, 0.0))]
    ended = Simulation(cost, Plan(sequences=4)).run(first, lambda r: ask(r.user, r.end))
    for user in range(10):
        turns = sorted((r for r in ended if r.user == user), key=lambda r: r.arrival)
        assert all(before.end <= after.arrival for before, after in itertools.pairwise(turns))
    rate = len(ended) / 200
    in_answers = statistics.mean(r.end - r.arrival for r in ended)
    assert rate * (in_answers + 1.0) == pytest.approx(10, rel=0.05), "Little: all ten either think or wait"


def test_sending_people_where_their_adapter_is_loads_less() -> None:
    cold = {}
    for routing in ROUTINGS:
        ended = Simulation(Cost(0.001, load=0.01), Plan(8, slots=4, routing=routing), seed=5).run(
            poisson(200, 4_000, 20, seed=5, personas=24)
        )
        cold[routing] = statistics.mean(r.cold for r in ended)
    assert cold["aware"] < 0.3 * cold["random"]


# --- the rule of the slots ------------------------------------------------------------------------------------------
class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


@given(st.lists(st.tuples(st.sampled_from("abcde"), st.booleans(), st.floats(0, 1.5)), max_size=40), st.integers(1, 3))
def test_the_slot_rule_lets_in_whom_the_gateway_lets_in(moves: list[tuple[str, bool, float]], capacity: int) -> None:
    async def gateway() -> list[list[int]]:
        """Who is in after each move."""
        clock = Clock()
        slots, inside, leave = FairScheduler(capacity, clock=clock), list[int](), dict[int, asyncio.Event]()
        seen, tasks = list[list[int]](), list[asyncio.Task[None]]()

        async def visit(number: int, name: str) -> None:
            async with slots.turn(name):
                inside.append(number)
                await leave[number].wait()
                inside.remove(number)

        for number, (name, go, wait) in enumerate(moves):
            clock.now += wait
            if go and inside:
                leave[inside[0]].set()
            else:
                leave[number] = asyncio.Event()
                tasks.append(asyncio.create_task(visit(number, name)))
            for _ in range(4):
                await asyncio.sleep(0)
            seen.append(sorted(inside))
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        return seen

    rule, inside, now, seen = SlotRule(capacity), list[tuple[int, str]](), 0.0, list[list[int]]()
    numbers: dict[int, int] = {}
    for number, (name, go, wait) in enumerate(moves):
        now += wait
        if go and inside:
            _, gone = inside.pop(0)
            inside += [(numbers[id(r)], r.persona) for r in rule.leave(gone, now)]
        else:
            request = Request(now, name, 0, 1)
            numbers[id(request)] = number
            seen_requests.append(request)
            if rule.enter(request, now):
                inside.append((number, name))
        seen.append(sorted(n for n, _ in inside))
    assert seen == asyncio.run(gateway())


seen_requests: list[Request] = []
"""Kept alive, for ids of objects that are gone are given out again."""


# --- traces ---------------------------------------------------------------------------------------------------------
def test_the_cost_of_steps_is_found_in_a_recording_of_them() -> None:
    truth = Cost(step=0.004, sequence=0.0008, adapter=0.001, prompt=0.00005, overhead=0.004)
    chance = random.Random(6)
    recorded = list(poisson(12, 400, 40, seed=6, personas=4))
    for request in recorded:
        request.prompt = chance.randrange(10, 60)
    Simulation(truth, Plan()).run(recorded)
    found = calibrate(recorded, Plan(), prompt=truth.prompt)
    for sequences, adapters in ((1, 1), (8, 3), (16, 4)):
        assert found.seconds(sequences, adapters) == pytest.approx(truth.seconds(sequences, adapters), rel=0.1)
    assert found.overhead == pytest.approx(truth.overhead, abs=0.002)
    ended = replay(recorded, found, Plan())
    took = [(s.end - s.arrival) / (r.end - r.arrival) for r, s in zip(recorded, ended, strict=True)]
    assert statistics.median(took) == pytest.approx(1, abs=0.03)


def test_a_trace_is_read_as_it_was_written(tmp_path: Path) -> None:
    requests = list(poisson(10, 20, 10, seed=7, personas=2))
    Simulation(Cost(0.01), Plan()).run(requests)
    path = write_trace({"check": requests, "few slots": requests[:3]}, tmp_path / "trace.jsonl")
    parts = read_trace(path)
    assert {part: len(rows) for part, rows in parts.items()} == {"check": 20, "few slots": 3}
    for read, written in zip(parts["check"], requests, strict=True):
        assert (read.persona, read.prompt, read.tokens) == (written.persona, written.prompt, written.tokens)
        assert (read.arrival, read.first, read.end) == pytest.approx(
            (written.arrival, written.first, written.end), abs=1e-6
        )
    assert all(math.isnan(r.end) for r in anew(requests))


# --- the calculation ------------------------------------------------------------------------------------------------
MEASURED = Measured(
    Cost(0.005, 0.0005, 0.001, 0.0001, 0.05, 0.01),
    sequences=64,
    gateway_piece_s=50e-6,
    slot_mib=8,
    engine_mib=2000,
    publish_s=1,
    vote_s=0.01,
    kv_bytes=10240,
)
LIMITS = Limits(max_concurrent=256, hub_poll_s=30, slots=34, kv_mib=1024)


def test_distinct_personas_are_all_there_are_or_as_many_as_ask() -> None:
    assert distinct([0.25] * 4, 1) == pytest.approx(1)
    assert distinct([0.25] * 4, 2) == pytest.approx(1.75)
    assert distinct(popularity(5, 1.0), 1e6) == pytest.approx(5)
    assert sum(popularity(1000, 1.0)) == pytest.approx(1)


def test_a_crowd_is_sized_by_littles_law_and_twice_the_people_need_twice_the_engines() -> None:
    assumed = Assumed(think_s=60)
    small, large = (size(Crowd(users, 100, 20, 60), MEASURED, assumed, LIMITS) for users in (10_000, 20_000))
    assert small.in_flight + small.answers_per_second * assumed.think_s == pytest.approx(10_000)
    assert small.in_flight == pytest.approx(small.answers_per_second * small.answer_s)
    assert large.engines == pytest.approx(2 * small.engines)
    assert small.replicas - 1 < small.engines <= small.replicas
    best = answers_per_second(MEASURED.cost, Crowd(1, 100, 20, 60), 64, 30)
    assert best == pytest.approx(1 / (60 * (0.005 + 64 * 0.0005 + 30 * 0.001) / 64 + 20 * 0.0001))


def test_what_breaks_first_is_told_first_and_goes_away_with_its_remedy() -> None:
    crowd, assumed = Crowd(10_000, 1_000, 20, 60), Assumed()
    sized = size(crowd, MEASURED, assumed, LIMITS)
    parts = needs(crowd, sized, MEASURED, assumed, LIMITS)
    assert [part.share for part in parts] == sorted((part.share for part in parts), reverse=True)
    by_name = {part.part: part for part in parts}
    assert by_name["asking the Hub"].need == pytest.approx(10_000)
    assert by_name["gateway's process"].need == pytest.approx(sized.tokens_per_second * 50e-6)
    patient = replace(LIMITS, hub_poll_s=3600, max_concurrent=100_000)
    calm = {part.part: part for part in needs(crowd, sized, MEASURED, assumed, patient)}
    assert calm["asking the Hub"].share < 0.1
    assert calm["answers at once in the gateway"].share < 0.1


def test_the_simulation_answers_as_many_as_the_calculation_says() -> None:
    """Two ways to one figure."""
    crowd, assumed = Crowd(1_000, 50, 20, 60), Assumed(think_s=20)
    sized = size(crowd, MEASURED, assumed, LIMITS)
    ended = talk(crowd, [(20, 60)], MEASURED.cost, Plan(sized.replicas, LIMITS.slots), assumed, 200)
    assert len(ended) / 200 == pytest.approx(sized.answers_per_second, rel=0.1)
    assert statistics.mean(r.end - r.arrival for r in ended) < 2 * sized.answer_s


def test_tables_are_put_where_the_page_asks_for_them() -> None:
    tables = {"sizes": ("Sizes", [["people", "engines"], ["10", "1"]])}
    text = "Before.\n\n<!-- table sizes -->\nold\n<!-- end -->\n\nAfter.\n"
    page = filled(text, tables)
    assert page == (
        "Before.\n\n<!-- table sizes -->\n\n| people | engines |\n| --- | --- |\n| 10 | 1 |\n\n<!-- end -->\n\nAfter.\n"
    )
    assert filled(page, tables) == page
    with pytest.raises(KeyError):
        filled(text.replace("sizes", "unknown"), tables)


def test_the_pages_tables_are_those_of_the_results() -> None:
    results = json.loads((RESULTS / "capacity.json").read_text())
    assert filled(PAGE.read_text(), made(results)) == PAGE.read_text(), "run `python -m bench.capacity`"
