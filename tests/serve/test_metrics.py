"""What /metrics tells: every request once, gauges that come back, and no series that stay behind."""

import asyncio
import re

import pytest
from prometheus_client.parser import text_string_to_metric_families

from serve.metrics import Metrics
from serve.request_metrics import LINGER

REVISION = "3fa9c1d2e4b5"
OF_POET = {"persona": "poet", "revision": REVISION}


class Hands:
    """A clock that stands still until it is told to move."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Hands:
    return Hands()


@pytest.fixture
def metrics(clock: Hands) -> Metrics:
    return Metrics(clock)


def value(metrics: Metrics, name: str, **labels: str) -> float | None:
    return metrics.registry.get_sample_value(f"understudy_{name}", labels)


def label_sets(metrics: Metrics) -> int:
    return len(set(re.findall(r'persona="[^"]*",revision="[^"]*"', metrics.render()[0].decode())))


def test_a_streamed_request_is_counted_with_its_times_and_tokens(metrics: Metrics, clock: Hands) -> None:
    with metrics.watch("poet", REVISION) as watch:
        assert value(metrics, "requests_in_flight", **OF_POET) == 1
        assert value(metrics, "requests_waiting", **OF_POET) == 1
        watch.chunk(100.5)
        assert value(metrics, "requests_waiting", **OF_POET) == 0
        watch.chunk(100.75)
        watch.chunk(101.0)
        clock.now = 101.0
        watch.done(200, prompt_tokens=7, completion_tokens=3)
    assert value(metrics, "requests_total", status="200", **OF_POET) == 1
    assert value(metrics, "prompt_tokens_total", **OF_POET) == 7
    assert value(metrics, "completion_tokens_total", **OF_POET) == 3
    assert value(metrics, "first_token_seconds_sum", **OF_POET) == 0.5
    assert value(metrics, "inter_token_seconds_count", **OF_POET) == 2
    assert value(metrics, "inter_token_seconds_sum", **OF_POET) == 0.5
    assert value(metrics, "request_seconds_sum", **OF_POET) == 1.0
    assert value(metrics, "requests_in_flight", **OF_POET) == 0
    assert (watch.first_token_seconds, watch.seconds) == (0.5, 1.0)


def test_an_answer_in_one_piece_has_no_first_token_time(metrics: Metrics) -> None:
    with metrics.watch("base", "base") as watch:
        watch.done(200, 1, 2)
    assert value(metrics, "first_token_seconds_count", persona="base", revision="base") == 0
    assert value(metrics, "requests_waiting", persona="base", revision="base") == 0


@pytest.mark.parametrize(
    ("error", "status", "gone"),
    [(asyncio.CancelledError(), "499", 1), (GeneratorExit(), "499", 1), (ValueError(), "500", 0), (None, "500", 0)],
)
@pytest.mark.parametrize("chunks", [0, 2])
def test_gauges_come_back_however_a_request_ends(
    metrics: Metrics, error: BaseException | None, status: str, gone: int, chunks: int
) -> None:
    def request() -> None:
        with metrics.watch("poet", REVISION) as watch:
            for number in range(chunks):
                watch.chunk(101.0 + number)
            if error is not None:
                raise error

    if error is None:
        request()
    else:
        with pytest.raises(type(error)):
            request()
    assert value(metrics, "requests_total", status=status, **OF_POET) == 1
    assert value(metrics, "requests_in_flight", **OF_POET) == 0
    assert value(metrics, "requests_waiting", **OF_POET) == 0
    assert value(metrics, "clients_gone_total") == gone


def test_a_request_is_counted_once_by_its_first_end(metrics: Metrics) -> None:
    with metrics.watch("poet", REVISION) as watch:
        watch.done(400)
        watch.done(200)
        watch.gone()
    assert value(metrics, "requests_total", status="400", **OF_POET) == 1
    assert value(metrics, "requests_total", status="200", **OF_POET) == 0
    assert value(metrics, "requests_total", status="499", **OF_POET) is None
    assert value(metrics, "requests_in_flight", **OF_POET) == 0


def test_a_watch_that_was_never_entered_leaves_no_trace(metrics: Metrics) -> None:
    metrics.watch("poet", REVISION).done(200)
    assert value(metrics, "requests_in_flight", **OF_POET) == 0
    assert value(metrics, "requests_total", status="200", **OF_POET) == 0


def test_a_prepared_revision_starts_at_zero(metrics: Metrics) -> None:
    metrics.prepare("poet", REVISION)
    assert value(metrics, "requests_total", status="200", **OF_POET) == 0
    assert value(metrics, "rejects_total", persona="poet", stage="probe") == 0
    assert value(metrics, "rollbacks_total", persona="poet", reason="canary") == 0


def test_five_hundred_publishes_leave_one_set_of_labels(metrics: Metrics, clock: Hands) -> None:
    for number in range(500):
        revision = f"{number:012x}"
        metrics.prepare("poet", revision)
        with metrics.watch("poet", revision) as watch:
            watch.chunk(clock.now)
            watch.done(200 if number % 2 else 503)
        if number:
            metrics.forget("poet", f"{number - 1:012x}")
    assert label_sets(metrics) == 500
    clock.now += LINGER
    assert label_sets(metrics) == 1


def test_the_last_requests_of_a_gone_revision_can_still_be_scraped(metrics: Metrics, clock: Hands) -> None:
    with metrics.watch("poet", REVISION) as watch:
        metrics.forget("poet", REVISION)
        clock.now += 10 * LINGER
        assert label_sets(metrics) == 1
        watch.done(200)
    assert value(metrics, "requests_total", status="200", **OF_POET) == 1
    assert label_sets(metrics) == 0


def test_an_engines_end_forgets_what_was_not_loaded_again(metrics: Metrics, clock: Hands) -> None:
    for persona, revision in (("base", "base"), ("poet", REVISION), ("poet", "0" * 12), ("gone", REVISION)):
        metrics.prepare(persona, revision)
    metrics.forget_others({("poet", REVISION)})
    clock.now += LINGER
    assert label_sets(metrics) == 2
    assert value(metrics, "requests_total", status="200", **OF_POET) == 0


def test_a_revision_that_comes_back_in_time_keeps_its_counts(metrics: Metrics, clock: Hands) -> None:
    for _ in range(2):
        with metrics.watch("poet", REVISION) as watch:
            watch.done(200)
        metrics.forget("poet", REVISION)
        clock.now += LINGER / 2
    metrics.prepare("poet", REVISION)
    clock.now += 2 * LINGER
    metrics.render()
    assert value(metrics, "requests_total", status="200", **OF_POET) == 2


def test_a_revision_that_comes_back_later_starts_again_from_zero(metrics: Metrics, clock: Hands) -> None:
    for _ in range(2):
        with metrics.watch("poet", REVISION) as watch:
            watch.done(200)
        metrics.forget("poet", REVISION)
        assert value(metrics, "requests_total", status="200", **OF_POET) == 1
        clock.now += LINGER
        metrics.render()


def test_swaps_refusals_and_trials_are_counted(metrics: Metrics) -> None:
    metrics.swapped("poet", "publish", 0.4)
    metrics.rejected("poet", "probe")
    metrics.rolled_back("poet", "canary")
    metrics.canary("poet", 0.1)
    metrics.canary_decided("poet", "rolled_back")
    metrics.refused("rate_limit")
    metrics.client_gone()
    assert value(metrics, "swap_seconds_sum", persona="poet") == 0.4
    assert value(metrics, "publishes_total", persona="poet", action="publish") == 1
    assert value(metrics, "rejects_total", persona="poet", stage="probe") == 1
    assert value(metrics, "rollbacks_total", persona="poet", reason="canary") == 1
    assert value(metrics, "canary_share_ratio", persona="poet") == 0.1
    assert value(metrics, "canary_decisions_total", persona="poet", decision="rolled_back") == 1
    assert value(metrics, "refused_total", reason="rate_limit") == 1
    assert value(metrics, "clients_gone_total") == 1


def test_requests_are_counted_by_the_public_id_of_their_key(metrics: Metrics) -> None:
    metrics.key_used("1a2b3c4d")
    assert value(metrics, "key_requests_total", key="1a2b3c4d") == 1


def test_the_first_start_of_the_engine_is_no_restart(metrics: Metrics) -> None:
    metrics.engine_starting()
    metrics.engine_ready(12.5)
    assert (value(metrics, "engine_up"), value(metrics, "engine_restarts_total")) == (1, 0)
    metrics.engine_down()
    assert value(metrics, "engine_up") == 0
    metrics.engine_starting()
    assert value(metrics, "engine_restarts_total") == 1
    assert value(metrics, "engine_start_seconds") == 12.5


def test_loaded_adapters_are_read_at_the_scrape(metrics: Metrics) -> None:
    loaded = ["a"]
    metrics.watch_adapters(lambda: len(loaded), slots=8)
    loaded.append("b")
    assert (value(metrics, "adapters_loaded"), value(metrics, "slots")) == (2, 8)


def test_the_page_is_prometheus_text_with_the_process_in_it(metrics: Metrics) -> None:
    metrics.prepare("poet", REVISION)
    body, content_type = metrics.render()
    families = {family.name for family in text_string_to_metric_families(body.decode())}
    assert content_type.startswith("text/plain")
    assert {"understudy_requests", "understudy_first_token_seconds", "process_resident_memory_bytes"} <= families
    assert not [name for name in families if name.endswith("_created")]


def test_two_gateways_in_one_process_do_not_share_series() -> None:
    one, two = Metrics(), Metrics()
    one.refused("body")
    assert value(two, "refused_total", reason="body") == 0
