"""What Prometheus reads at GET /metrics: requests by persona and revision, swaps, refusals, the engine.

Every label takes its values from a closed list or from the registry, never from what a client sent: no user, no
address, no secret, no unknown model's name.
"""

import time
from collections.abc import Callable
from typing import Literal

import prometheus_client
from prometheus_client import CollectorRegistry, ProcessCollector

from serve.engine.adapter_engine import CheckStage
from serve.request_metrics import Clock, Instruments, RequestMetrics

SWAP_BUCKETS = (0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 20.0, 60.0, 120.0)


class Metrics(RequestMetrics):
    """All series of one gateway, in a collector registry of their own. To be used on the event loop's thread."""

    def __init__(self, clock: Clock = time.perf_counter) -> None:
        prometheus_client.disable_created_metrics()  # a third more series, which nothing here reads
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        make = Instruments(self.registry)
        super().__init__(make, clock)

        self._swaps = make.histogram(
            "swap_seconds", "Seconds from the call of a publish to the flip of the name.", SWAP_BUCKETS, "persona"
        )
        self._publishes = make.counter("publishes_total", "Changes of what a name means.", "persona", "action")
        self._rejects = make.counter("rejects_total", "Revisions refused before they were live.", "persona", "stage")
        self._rollbacks = make.counter("rollbacks_total", "Returns to an earlier revision.", "persona", "reason")
        self._canary_share = make.gauge("canary_share_ratio", "Share of users on the candidate, 0 to 1.", "persona")
        self._decisions = make.counter("canary_decisions_total", "How trials ended.", "persona", "decision")
        self._polls = make.counter("hub_polls_total", "Polls of followed repositories.", "persona", "outcome")
        self._failing = make.gauge("hub_failing", "1 while a followed repository cannot be read or used.", "persona")
        self._file_bad = make.gauge("follow_file_bad", "1 while personas.yaml is invalid and not used.")
        self._webhooks = make.counter("webhooks_total", "Calls of the Hub's webhook.", "outcome")
        self._on_demand = make.counter(
            "on_demand_total", "Adapters asked for by Hub id, unless they were loaded.", "outcome"
        )
        self._up = make.gauge("engine_up", "1 while the engine answers and the personas are loaded.")
        self._restarts = make.counter("engine_restarts_total", "Starts of the engine after the first.")
        self._start = make.gauge("engine_start_seconds", "How long the last start took, personas included.")
        self._loaded = make.gauge("adapters_loaded", "Adapters that the engine knows.")
        self._slots = make.gauge("slots", "Adapters that the engine can compute with at once.")
        self._starts = 0
        for outcome in ("accepted", "unknown", "refused"):
            self._webhooks.labels(outcome)

    # Rollouts

    def prepare(self, persona: str, revision: str) -> None:
        """Starts a revision's series at zero, well before it is used: increase() does not see a step from nothing
        to one, only from a zero that was scraped."""
        super().prepare(persona, revision)
        self._publishes.labels(persona, "publish")
        for stage in ("validation", "load", "probe"):
            self._rejects.labels(persona, stage)
        for reason in ("manual", "canary"):
            self._rollbacks.labels(persona, reason)

    def swapped(self, persona: str, action: str, seconds: float) -> None:
        """A name was flipped: `action` is publish, rollback or promote; `seconds` since it was ordered."""
        self._swaps.labels(persona).observe(seconds)
        self._publishes.labels(persona, action).inc()

    def rejected(self, persona: str, stage: CheckStage) -> None:
        """A revision was refused at this stage."""
        self._rejects.labels(persona, stage).inc()

    def rolled_back(self, persona: str, reason: Literal["manual", "canary"]) -> None:
        """A person, or a canary's figures, sent a persona back."""
        self._rollbacks.labels(persona, reason).inc()

    def canary(self, persona: str, share: float) -> None:
        """The candidate's share is now this; 0 when there is no trial."""
        self._canary_share.labels(persona).set(share)

    def canary_decided(self, persona: str, decision: Literal["promoted", "rolled_back", "ended"]) -> None:
        """A trial came to its end."""
        self._decisions.labels(persona, decision).inc()

    # The Hub

    def polled(self, persona: str, outcome: str, failing: bool) -> None:
        """A followed repository was polled: same, published, refused, or one word for what failed."""
        self._polls.labels(persona, outcome).inc()
        self._failing.labels(persona).set(failing)

    def follow_file(self, bad: bool) -> None:
        """personas.yaml was read."""
        self._file_bad.set(bad)

    def webhook(self, outcome: Literal["accepted", "unknown", "refused"]) -> None:
        """The webhook was called."""
        self._webhooks.labels(outcome).inc()

    def on_demand(self, outcome: str) -> None:
        """A request named a Hub id that was not loaded: loaded, refused, missing, full or hub."""
        self._on_demand.labels(outcome).inc()

    # Engine

    def engine_starting(self) -> None:
        """The engine's process is being started; from the second time on this counts as a restart."""
        self._up.set(0)
        self._starts += 1
        if self._starts > 1:
            self._restarts.inc()

    def engine_ready(self, seconds: float) -> None:
        """The engine answers and the personas are loaded, `seconds` after its start."""
        self._up.set(1)
        self._start.set(seconds)

    def engine_down(self) -> None:
        """The engine stopped or hangs."""
        self._up.set(0)

    def watch_adapters(self, loaded: Callable[[], int], slots: int) -> None:
        """Where the number of loaded adapters is read at each scrape, and how many slots there are."""
        self._loaded.set_function(loaded)
        self._slots.set(slots)

    def render(self) -> tuple[bytes, str]:
        """The body and the content type of GET /metrics."""
        self._remove_gone()
        return prometheus_client.generate_latest(self.registry), prometheus_client.CONTENT_TYPE_LATEST
