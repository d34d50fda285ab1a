"""What Prometheus reads at GET /metrics: requests by persona and revision, swaps, refusals, the engine.

Every label takes its values from a closed list or from the registry, never from what a client sent: no user, no
address, no secret, no unknown model's name.
"""

import asyncio
import time
import typing
from collections.abc import Callable, Collection
from types import TracebackType
from typing import Literal, Self, TypeAlias

import prometheus_client
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector

Clock: TypeAlias = Callable[[], float]
Stage: TypeAlias = Literal["validation", "load", "probe", "golden"]
Refusal: TypeAlias = Literal["key", "rate_limit", "overloaded", "body", "unknown_model", "engine", "hub"]

OF_REVISION = ("persona", "revision")
CLIENT_GONE = 499
"""Status under which a request is counted whose client went away before the end (as nginx does)."""

LINGER = 120.0
"""Seconds that the series of a revision stay readable after it is gone: some scrapes, so that none of its last
requests is lost."""

TOKEN_BUCKETS = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0)
REQUEST_BUCKETS = (0.01, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 20.0, 50.0, 100.0, 300.0)
SWAP_BUCKETS = (0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 20.0, 60.0, 120.0)


class Series:
    """The series of one revision, looked up once: finding a labelled child costs more than counting in it."""

    def __init__(self, metrics: "Metrics", persona: str, revision: str) -> None:
        self.labels = (persona, revision)
        self.first_token = metrics.first_token.labels(*self.labels)
        self.inter_token = metrics.inter_token.labels(*self.labels)
        self.request = metrics.request_seconds.labels(*self.labels)
        self.prompt = metrics.prompt_tokens.labels(*self.labels)
        self.completion = metrics.completion_tokens.labels(*self.labels)
        self.in_flight = metrics.in_flight.labels(*self.labels)
        self.waiting = metrics.waiting.labels(*self.labels)
        self.open = 0
        self.gone_since: float | None = None
        metrics.requests.labels(*self.labels, "200")


class RequestTimer:
    """One request, from its entry to its end; `with metrics.watch(...) as watch:`.

    However the block ends, the request leaves the gauges. It is counted once: by the first `done` or `gone`, else
    as 499 when the block was cancelled and as 500 when it was left in any other way.
    """

    __slots__ = ("_gap", "_last", "_metrics", "_series", "_started", "finished", "first_token_seconds", "seconds")

    def __init__(self, metrics: "Metrics", series: Series) -> None:
        self._metrics, self._series = metrics, series
        self._gap = series.inter_token.observe
        self._last: float | None = None
        self._started = 0.0
        self.finished = True
        self.first_token_seconds: float | None = None
        """None until the first chunk."""
        self.seconds = 0.0
        """How long it took; known after the end."""

    def __enter__(self) -> Self:
        self._started = self._metrics.clock()
        self.finished = False
        self._series.open += 1
        self._series.in_flight.inc()
        self._series.waiting.inc()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        if isinstance(error, (asyncio.CancelledError, GeneratorExit)):
            self.gone()
        else:
            self.done(500)

    def chunk(self, now: float) -> None:
        """Notes a network chunk with content, at `now` of the metrics' clock (`time.perf_counter`)."""
        last, self._last = self._last, now
        if last is not None:
            self._gap(now - last)
            return
        self.first_token_seconds = now - self._started
        self._series.first_token.observe(self.first_token_seconds)
        self._series.waiting.dec()

    def done(self, status: int, prompt_tokens: int = 0, completion_tokens: int = 0) -> None:
        """The answer has left, with this HTTP status. A second call changes nothing."""
        if self.finished:
            return
        self.finished = True
        self.seconds = self._metrics.clock() - self._started
        series = self._series
        series.open -= 1
        series.in_flight.dec()
        if self._last is None:
            series.waiting.dec()
        series.request.observe(self.seconds)
        series.prompt.inc(prompt_tokens)
        series.completion.inc(completion_tokens)
        self._metrics.requests.labels(*series.labels, str(status)).inc()

    def gone(self) -> None:
        """The client went away before the end."""
        if not self.finished:
            self._metrics.clients_gone.inc()
            self.done(CLIENT_GONE)


class Metrics:
    """All series of one gateway, in a collector registry of their own. To be used on the event loop's thread.

    Series of revisions are removed some minutes after `forget`. rate() and increase() stay right: they look at each
    series alone, and one that ends simply stops contributing; a revision that comes back starts at zero, which both
    read as a reset. So sums over revisions must be sums of rates, never rates or values of sums. Nothing is ever
    folded into a series "other", because what was counted there a second time would look like new requests.
    """

    def __init__(self, clock: Clock = time.perf_counter) -> None:
        self.clock = clock
        self.registry = registry = CollectorRegistry()
        self._series: dict[tuple[str, str], Series] = {}
        prometheus_client.disable_created_metrics()  # a third more series, which nothing here reads
        ProcessCollector(registry=registry)

        def counter(name: str, help_: str, *labels: str) -> Counter:
            return Counter(f"understudy_{name}", help_, labels, registry=registry)

        def gauge(name: str, help_: str, *labels: str) -> Gauge:
            return Gauge(f"understudy_{name}", help_, labels, registry=registry)

        def histogram(name: str, help_: str, buckets: tuple[float, ...], *labels: str) -> Histogram:
            return Histogram(f"understudy_{name}", help_, labels, buckets=buckets, registry=registry)

        self.requests = counter("requests_total", "Inference requests that ended.", *OF_REVISION, "status")
        self.prompt_tokens = counter("prompt_tokens_total", "Tokens read.", *OF_REVISION)
        self.completion_tokens = counter("completion_tokens_total", "Tokens written.", *OF_REVISION)
        self.first_token = histogram(
            "first_token_seconds", "Entry of a streamed request to its first content.", TOKEN_BUCKETS, *OF_REVISION
        )
        self.inter_token = histogram(
            "inter_token_seconds", "Between two chunks with content of one stream.", TOKEN_BUCKETS, *OF_REVISION
        )
        self.request_seconds = histogram(
            "request_seconds", "Entry of a request to its end.", REQUEST_BUCKETS, *OF_REVISION
        )
        self.in_flight = gauge("requests_in_flight", "Requests being answered.", *OF_REVISION)
        self.waiting = gauge("requests_waiting", "Requests in flight without a first token: the queue.", *OF_REVISION)
        self.clients_gone = counter("clients_gone_total", "Requests whose client went away before the end.")
        self._refused = counter("refused_total", "Requests that never reached the engine.", "reason")
        self._keys = counter("key_requests_total", "Requests by the public id of their key.", "key")
        self._swaps = histogram("swap_seconds", "Order to flip of a publish that went live.", SWAP_BUCKETS, "persona")
        self._publishes = counter("publishes_total", "Changes of what a name means.", "persona", "action")
        self._rejects = counter("rejects_total", "Revisions refused on their way to the stage.", "persona", "stage")
        self._rollbacks = counter("rollbacks_total", "Ways back to an earlier revision.", "persona", "reason")
        self._canary_share = gauge("canary_share_ratio", "Share of users on the candidate, 0 to 1.", "persona")
        self._decisions = counter("canary_decisions_total", "How trials ended.", "persona", "decision")
        self._looks = counter("hub_looks_total", "Looks at followed repositories.", "persona", "outcome")
        self._failing = gauge("hub_failing", "1 while a followed repository cannot be read or used.", "persona")
        self._file_bad = gauge("follow_file_bad", "1 while personas.yaml has a mistake and is not used.")
        self._hooks = counter("hooks_total", "Calls of the Hub's webhook.", "outcome")
        self._guests = counter("on_demand_total", "Adapters asked for by Hub id, unless they were loaded.", "outcome")
        self._up = gauge("engine_up", "1 while the engine answers and the personas are on stage.")
        self._restarts = counter("engine_restarts_total", "Starts of the engine after the first.")
        self._start = gauge("engine_start_seconds", "How long the last start took, personas included.")
        self._loaded = gauge("adapters_loaded", "Adapters that the engine knows.")
        self._slots = gauge("slots", "Adapters that the engine can compute with at once.")
        self._starts = 0
        for reason in typing.get_args(Refusal):
            self._refused.labels(reason)
        for outcome in ("accepted", "unknown", "refused"):
            self._hooks.labels(outcome)

    # Requests

    def watch(self, persona: str, revision: str) -> RequestTimer:
        """A request that `revision` (12 characters, or `base` for both) of `persona` answers."""
        return RequestTimer(self, self._of(persona, revision))

    def refused(self, reason: Refusal) -> None:
        """A request was turned away before it reached the engine."""
        self._refused.labels(reason).inc()

    def client_gone(self) -> None:
        """A client went away before its request had a target; after that, `Watch.gone` counts it."""
        self.clients_gone.inc()

    def key_used(self, key: str) -> None:
        """A request came with the key of this public id."""
        self._keys.labels(key).inc()

    # Swaps

    def prepare(self, persona: str, revision: str) -> None:
        """Starts a revision's series at zero, well before it is used: increase() does not see a step from nothing
        to one, only from a zero that was scraped."""
        self._of(persona, revision)
        self._publishes.labels(persona, "publish")
        for stage in ("validation", "load", "probe"):
            self._rejects.labels(persona, stage)
        for reason in ("manual", "canary"):
            self._rollbacks.labels(persona, reason)

    def forget(self, persona: str, revision: str) -> None:
        """The revision was unloaded: its series end once its last answer is out and `LINGER` has passed."""
        series = self._series.get((persona, revision))
        if series is not None and series.gone_since is None:
            series.gone_since = self.clock()
        self._remove_gone()

    def forget_others(self, kept: Collection[tuple[str, str]]) -> None:
        """An engine is gone with all it had loaded: forgets each (persona, revision) but `kept` and the base."""
        for persona, revision in list(self._series):
            if (persona, revision) not in kept and persona != "base":
                self.forget(persona, revision)

    def swapped(self, persona: str, action: str, seconds: float) -> None:
        """A name was flipped: `action` is publish, rollback or promote; `seconds` since it was ordered."""
        self._swaps.labels(persona).observe(seconds)
        self._publishes.labels(persona, action).inc()

    def rejected(self, persona: str, stage: Stage) -> None:
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

    def looked(self, persona: str, outcome: str, failing: bool) -> None:
        """A followed repository was looked at: same, published, refused, or in one word what kept us from it."""
        self._looks.labels(persona, outcome).inc()
        self._failing.labels(persona).set(failing)

    def follow_file(self, bad: bool) -> None:
        """personas.yaml was read."""
        self._file_bad.set(bad)

    def hook(self, outcome: Literal["accepted", "unknown", "refused"]) -> None:
        """The webhook was called."""
        self._hooks.labels(outcome).inc()

    def guest(self, outcome: str) -> None:
        """Somebody asked for an adapter by its Hub id that was not loaded: loaded, refused, missing, full or hub."""
        self._guests.labels(outcome).inc()

    # Engine

    def engine_starting(self) -> None:
        """The engine's process is being started; from the second time on this counts as a restart."""
        self._up.set(0)
        self._starts += 1
        if self._starts > 1:
            self._restarts.inc()

    def engine_ready(self, seconds: float) -> None:
        """The engine answers and the personas are on stage, `seconds` after its start."""
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

    def _of(self, persona: str, revision: str) -> Series:
        series = self._series.get((persona, revision))
        if series is None:
            series = self._series[persona, revision] = Series(self, persona, revision)
        series.gone_since = None
        return series

    def _remove_gone(self) -> None:
        before = self.clock() - LINGER
        for labels, series in list(self._series.items()):
            if series.gone_since is not None and series.gone_since <= before and not series.open:
                del self._series[labels]
                self._remove(*labels)

    def _remove(self, persona: str, revision: str) -> None:
        for metric in (self.first_token, self.inter_token, self.request_seconds, self.prompt_tokens):
            metric.remove(persona, revision)
        for metric in (self.completion_tokens, self.in_flight, self.waiting):
            metric.remove(persona, revision)
        self.requests.remove_by_labels({"persona": persona, "revision": revision})
