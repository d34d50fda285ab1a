"""Metrics of requests by persona and revision, with series that end some time after their revision is unloaded."""

import asyncio
import time
import typing
from collections.abc import Callable, Collection
from types import TracebackType
from typing import Self, TypeAlias

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from serve.http.errors import Refusal

Clock: TypeAlias = Callable[[], float]

OF_REVISION = ("persona", "revision")
CLIENT_GONE = 499
"""Status under which a request is counted whose client went away before the end (as nginx does)."""

LINGER = 120.0
"""Seconds that the series of a revision stay readable after it is gone: some scrapes, so that none of its last
requests is lost."""

TOKEN_BUCKETS = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0)
REQUEST_BUCKETS = (0.01, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 20.0, 50.0, 100.0, 300.0)


class Instruments:
    """Creates metrics with our prefix in one collector registry."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._registry = registry

    def counter(self, name: str, help_: str, *labels: str) -> Counter:
        return Counter(f"understudy_{name}", help_, labels, registry=self._registry)

    def gauge(self, name: str, help_: str, *labels: str) -> Gauge:
        return Gauge(f"understudy_{name}", help_, labels, registry=self._registry)

    def histogram(self, name: str, help_: str, buckets: tuple[float, ...], *labels: str) -> Histogram:
        return Histogram(f"understudy_{name}", help_, labels, buckets=buckets, registry=self._registry)


class Series:
    """The series of one revision, looked up once: finding a labelled child costs more than counting in it."""

    def __init__(self, metrics: "RequestMetrics", persona: str, revision: str) -> None:
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

    def __init__(self, metrics: "RequestMetrics", series: Series) -> None:
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


class RequestMetrics:
    """Series of requests. To be used on the event loop's thread.

    Series of revisions are removed some minutes after `forget`. rate() and increase() stay right: they look at each
    series alone, and one that ends simply stops contributing; a revision that comes back starts at zero, which both
    read as a reset. So sums over revisions must be sums of rates, never rates or values of sums. Nothing is ever
    folded into a series "other", because what was counted there a second time would look like new requests.
    """

    def __init__(self, make: Instruments, clock: Clock = time.perf_counter) -> None:
        self.clock = clock
        self._series: dict[tuple[str, str], Series] = {}
        self.requests = make.counter("requests_total", "Inference requests that ended.", *OF_REVISION, "status")
        self.prompt_tokens = make.counter("prompt_tokens_total", "Tokens read.", *OF_REVISION)
        self.completion_tokens = make.counter("completion_tokens_total", "Tokens written.", *OF_REVISION)
        self.first_token = make.histogram(
            "first_token_seconds", "Arrival of a streamed request to its first content.", TOKEN_BUCKETS, *OF_REVISION
        )
        self.inter_token = make.histogram(
            "inter_token_seconds", "Time between two chunks with content of one stream.", TOKEN_BUCKETS, *OF_REVISION
        )
        self.request_seconds = make.histogram(
            "request_seconds", "Arrival of a request to its end.", REQUEST_BUCKETS, *OF_REVISION
        )
        self.in_flight = make.gauge("requests_in_flight", "Requests being answered.", *OF_REVISION)
        self.waiting = make.gauge(
            "requests_waiting", "Requests in flight without a first token: the queue.", *OF_REVISION
        )
        self.clients_gone = make.counter("clients_gone_total", "Requests whose client went away before the end.")
        self._refused = make.counter("refused_total", "Requests that never reached the engine.", "reason")
        self._keys = make.counter("key_requests_total", "Requests by the public id of their key.", "key")
        for reason in typing.get_args(Refusal):
            self._refused.labels(reason)

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

    def prepare(self, persona: str, revision: str) -> None:
        """Starts a revision's series at zero before it is used: increase() needs a zero that was scraped."""
        self._of(persona, revision)

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
