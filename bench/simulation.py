"""Replicas of an engine, event by event: batches, slots, adapters loaded on demand, and who is sent where.

An engine answers in steps, and each step makes one token for everybody in its batch. A step costs
`Cost.seconds`, so the times of all tokens follow from when requests join and leave. Between two such moments all
steps are alike and are jumped over; that makes ten thousand users a matter of seconds.
"""

import heapq
import random
from collections import OrderedDict, deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from itertools import count
from math import floor

from bench.slot_rule import Request, SlotRule


@dataclass(frozen=True)
class Cost:
    """What one step of an engine takes, in seconds."""

    step: float
    """However little is in the batch."""
    sequence: float = 0.0
    """More for each answer in the batch."""
    adapter: float = 0.0
    """More for each distinct adapter in the batch."""
    prompt: float = 0.0
    """More for each token of a prompt that is read in it."""
    load: float = 0.0
    """More for each adapter that has to be loaded first; everybody in the batch waits for it."""
    overhead: float = 0.0
    """On the way to the engine and back: in each answer's times, but not in the engine's."""

    def seconds(self, sequences: int, adapters: int, prompt_tokens: int = 0, loads: int = 0) -> float:
        """Of a step with so much in it."""
        busy = self.step + self.sequence * sequences + self.adapter * adapters
        return busy + self.prompt * prompt_tokens + self.load * loads


@dataclass(frozen=True)
class Plan:
    """What is simulated."""

    replicas: int = 1
    slots: int = 8
    """Adapters that one replica can have in a batch, and keeps loaded."""
    sequences: int = 256
    """Answers in one batch (vLLM's max_num_seqs)."""
    prompt_tokens: int = 8192
    """Tokens of prompts in one step; a longer prompt takes a step of its own."""
    kv_tokens: float = float("inf")
    """Tokens of prompts and answers that one replica can remember."""
    routing: str = "aware"
    """`random`; `least`: the less busy of two at random; `aware`: the least busy of those that have the adapter,
    unless it has `CROWDED` times the mean, then `least`."""


CROWDED = 1.25


class Replica:
    """One engine."""

    def __init__(self, cost: Cost, plan: Plan) -> None:
        self._cost, self._plan = cost, plan
        self.slots = SlotRule(plan.slots)
        self.ready: deque[Request] = deque()
        """Let in by the slots; joins the batch at the next step."""
        self.loaded: OrderedDict[str, None] = OrderedDict()
        """Adapters, the one unused longest first."""
        self.load = 0
        """Requests that are here and have not ended."""
        self.version = 0
        """Of its next event; an event with another one is out of date."""
        self._batch: list[tuple[int, int, Request]] = []  # by the step that makes its last token
        self._in_batch: dict[str, int] = {}
        self._kept = 0
        self._number = count()
        self._steps = 0
        self._began = self._first = self._each = 0.0
        self._planned = 0
        self._joined: list[Request] = []

    @property
    def idle(self) -> bool:
        return not self._planned

    def begin(self, now: float) -> float | None:
        """Starts the next steps; returns when they end, or None when there is nothing to do."""
        self.version += 1
        self._joined, prompts, loads = [], 0, 0
        while self.ready and self._room(self.ready[0], prompts):
            request = self.ready.popleft()
            prompts += request.prompt
            loads += self._join(request, now)
        self._began, self._planned = now, 0
        if not self._batch:
            return None
        # The base counts as one more way through the batch, not as an adapter.
        adapters = len(self._in_batch) - ("" in self._in_batch)
        self._each = self._cost.seconds(len(self._batch), adapters)
        self._first = self._cost.seconds(len(self._batch), adapters, prompts, loads)
        self._planned = 1 if self._joined else self._batch[0][0] - self._steps
        return now + self._first + self._each * (self._planned - 1)

    def cut(self, now: float) -> float:
        """Somebody came: ends the steps after the one that is under way; returns when that ends."""
        if self._planned > 1:
            done = floor((now - self._began) / self._each)
            self._planned = min(self._planned, done + 1)
        self.version += 1
        return self._began + self._first + self._each * (self._planned - 1)

    def finish(self, now: float) -> list[Request]:
        """The steps are over; returns whose answer is, too."""
        self._steps += self._planned
        self._planned = 0
        for request in self._joined:
            request.first = now + self._cost.overhead
        ended = []
        while self._batch and self._batch[0][0] <= self._steps:
            request = heapq.heappop(self._batch)[2]
            request.end = now + self._cost.overhead
            self._kept -= request.prompt + request.tokens
            self._in_batch[request.persona] -= 1
            if not self._in_batch[request.persona]:
                del self._in_batch[request.persona]
            self.load -= 1
            self.ready.extend(self.slots.leave(request.persona, now))
            ended.append(request)
        return ended

    def _room(self, request: Request, prompts: int) -> bool:
        plan = self._plan
        if not self._batch:
            return True  # whatever it needs: nobody will ever leave to make room
        fits = len(self._batch) < plan.sequences and self._kept + request.prompt + request.tokens <= plan.kv_tokens
        return fits and (not prompts or prompts + request.prompt <= plan.prompt_tokens)

    def _join(self, request: Request, now: float) -> bool:
        """Puts it into the batch; returns whether its adapter has to be loaded."""
        request.began = now
        heapq.heappush(self._batch, (self._steps + request.tokens, next(self._number), request))
        self._joined.append(request)
        self._kept += request.prompt + request.tokens
        self._in_batch[request.persona] = self._in_batch.get(request.persona, 0) + 1
        if not request.persona:
            return False
        request.cold = request.persona not in self.loaded
        self.loaded[request.persona] = None
        self.loaded.move_to_end(request.persona)
        while len(self.loaded) > self._plan.slots:
            self.loaded.pop(next(name for name in self.loaded if name not in self._in_batch))
        return request.cold


Again = Callable[[Request], Request | None]
"""What somebody asks after an answer, with a later arrival; None for nothing."""


class Simulation:
    """Sends requests to replicas until all have ended."""

    def __init__(self, cost: Cost, plan: Plan, *, seed: int = 0) -> None:
        self.plan = plan
        self.replicas = [Replica(cost, plan) for _ in range(plan.replicas)]
        self.now = 0.0
        self._random = random.Random(seed)
        self._events: list[tuple[float, int, Request | None, int, int]] = []
        self._order = count()
        self._load = 0

    def run(self, requests: Iterable[Request], again: Again = lambda _: None) -> list[Request]:
        """Every request as it went, in the order in which they ended."""
        for request in requests:
            heapq.heappush(self._events, (request.arrival, next(self._order), request, 0, 0))
        ended: list[Request] = []
        while self._events:
            self.now, _, request, index, version = heapq.heappop(self._events)
            if request is not None:
                self._arrive(request)
            elif version == self.replicas[index].version:
                for over in self.replicas[index].finish(self.now):
                    ended.append(over)
                    self._load -= 1
                    if more := again(over):
                        heapq.heappush(self._events, (more.arrival, next(self._order), more, 0, 0))
                self._schedule(index, self.replicas[index].begin(self.now))
        return ended

    def _arrive(self, request: Request) -> None:
        index = self._route(request.persona)
        replica = self.replicas[index]
        replica.load += 1
        self._load += 1
        if not replica.slots.enter(request, self.now):
            return
        replica.ready.append(request)
        self._schedule(index, replica.begin(self.now) if replica.idle else replica.cut(self.now))

    def _schedule(self, index: int, moment: float | None) -> None:
        if moment is not None:
            event = (moment, next(self._order), None, index, self.replicas[index].version)
            heapq.heappush(self._events, event)

    def _route(self, persona: str) -> int:
        """Which replica a request goes to."""
        number = len(self.replicas)
        if number == 1:
            return 0
        if self.plan.routing == "random":
            return self._random.randrange(number)
        if self.plan.routing == "aware" and persona:
            having = [i for i, replica in enumerate(self.replicas) if persona in replica.loaded]
            best = min(having, key=lambda i: self.replicas[i].load, default=None)
            if best is not None and self.replicas[best].load <= CROWDED * self._load / number + 1:
                return best
        return min(self._random.sample(range(number), 2), key=lambda i: self.replicas[i].load)
