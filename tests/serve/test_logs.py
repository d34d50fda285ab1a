"""Logs: whole JSON lines, the request's id in each, and never a secret, wherever it hides."""

import asyncio
import json
import logging
import re
from collections.abc import Callable, Iterator

import pytest

from serve.logs import HANDLER, REQUEST_ID, SECRET, access_record, configure_logs, new_request_id, redact

log = logging.getLogger("understudy.test")

SECRETS = [
    "us-1a2b3c4d-" + "Zx_9-" * 8 + "abc",
    "Bearer correct-horse",
    "bearer  a.b.c==",
    "hf_AbCdEfGhIjKlMnOp",
    "sk-proj-0123456789_abc",
]

Lines = Callable[[], list[dict]]


@pytest.fixture(autouse=True)
def _logging_as_before() -> Iterator[None]:
    root, ours = logging.getLogger(), logging.getLogger("understudy")
    levels = root.level, ours.level
    yield
    for handler in [h for h in root.handlers if h.get_name() == HANDLER]:
        root.removeHandler(handler)
    root.setLevel(levels[0])
    ours.setLevel(levels[1])
    logging.captureWarnings(False)


@pytest.fixture
def lines(capsys: pytest.CaptureFixture[str]) -> Lines:
    """The JSON records written so far."""
    return lambda: [json.loads(line) for line in capsys.readouterr().err.splitlines()]


def test_a_record_is_one_json_line_with_time_level_logger_and_extras(lines: Lines) -> None:
    configure_logs(json=True)
    log.warning("%s is late\nby far", "poet", extra={"seconds": 1.5, "reasons": ["a", "b"]})
    (record,) = lines()
    assert list(record)[:4] == ["time", "level", "logger", "message"]
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", record["time"])
    assert record["level"] == "WARNING"
    assert record["logger"] == "understudy.test"
    assert record["message"] == "poet is late\nby far"
    assert record["seconds"] == 1.5
    assert record["reasons"] == ["a", "b"]
    assert "request_id" not in record


def test_an_exception_is_in_the_same_line(lines: Lines) -> None:
    configure_logs(json=True)
    try:
        raise ValueError("no such thing")
    except ValueError:
        log.exception("it failed")
    (record,) = lines()
    assert "Traceback" in record["exception"]
    assert record["exception"].endswith("ValueError: no such thing")


def test_each_task_logs_the_id_of_its_own_request(lines: Lines) -> None:
    configure_logs(json=True)

    async def request(name: str) -> None:
        REQUEST_ID.set(name)
        await asyncio.sleep(0)
        log.warning("%s", name)

    async def run() -> None:
        await asyncio.gather(request("one"), request("two"))
        log.warning("outside")

    asyncio.run(run())
    found = [(record["message"], record.get("request_id")) for record in lines()]
    assert sorted(found[:2]) == [("one", "one"), ("two", "two")]
    assert found[2] == ("outside", None)


@pytest.mark.parametrize("secret", SECRETS)
@pytest.mark.parametrize("as_json", [True, False])
def test_a_secret_leaves_no_record(secret: str, as_json: bool, capsys: pytest.CaptureFixture[str]) -> None:
    configure_logs(json=as_json)
    log.warning("said %s", secret)
    log.warning(f"it was:\n{secret}\tand more")
    log.warning("told", extra={"header": f'"{secret}"', "deep": {"list": [("x", {secret})], secret: 1}})
    log.warning("an object", extra={"error": ValueError(secret)})
    try:
        raise RuntimeError(f"\n{secret}")
    except RuntimeError:
        log.exception("failed", stack_info=True)
    text = capsys.readouterr().err
    assert secret not in text
    assert secret.split()[-1] not in text
    assert text.count("[secret]") >= 6
    assert "and more" in text
    if as_json:
        assert len([json.loads(line) for line in text.splitlines()]) == 5


@pytest.mark.parametrize(
    "word", ["task-list-of-everything", "shelf_AbCdEfGhIjKl", "us-east-1", "the bearer", "risk-12345678"]
)
def test_ordinary_words_are_no_secrets(word: str) -> None:
    assert SECRET.search(word) is None


def test_a_finished_request_is_one_record_and_holds_only_what_is_listed(lines: Lines) -> None:
    configure_logs(json=True)
    REQUEST_ID.set("req-1")
    access_record(
        route="/v1/chat/completions",
        status=200,
        outcome="ok",
        seconds=1.23456789,
        caller="1a2b3c4d",
        persona="poet",
        revision="3fa9c1d2e4b5",
        first_token_seconds=0.1,
        prompt_tokens=7,
        completion_tokens=30,
        streamed=True,
    )
    REQUEST_ID.set("")
    (record,) = lines()
    for always in ("time", "level", "logger", "message"):
        record.pop(always)
    assert record == {
        "request_id": "req-1",
        "caller": "1a2b3c4d",
        "persona": "poet",
        "revision": "3fa9c1d2e4b5",
        "route": "/v1/chat/completions",
        "status": 200,
        "outcome": "ok",
        "seconds": 1.234568,
        "first_token_seconds": 0.1,
        "prompt_tokens": 7,
        "completion_tokens": 30,
        "streamed": True,
    }


@pytest.mark.parametrize("header", ["a", "A-b_c.9", "x" * 64])
def test_a_clients_request_id_is_taken_over(header: str) -> None:
    assert new_request_id(header) == header


@pytest.mark.parametrize("header", [None, "", "x" * 65, "a b", "a\n", "ä", "a;b", SECRETS[0]])
def test_any_other_request_id_is_replaced(header: str | None) -> None:
    made = new_request_id(header)
    assert re.fullmatch(r"req-[0-9a-f]{16}", made)
    assert made != new_request_id(header)


def test_a_terminal_gets_a_readable_line(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logs(json=False)
    access_record(route="/v1/models", status=401, outcome="refused", seconds=0.5)
    line = capsys.readouterr().err
    assert re.match(r"\S+Z INFO understudy\.access: /v1/models 401 refused route=/v1/models status=401", line)
    assert "persona" not in line


def test_a_record_that_cannot_be_written_is_named_but_not_shown(lines: Lines) -> None:
    configure_logs(json=True)
    (handler,) = [h for h in logging.getLogger().handlers if h.get_name() == HANDLER]
    handler.handle(log.makeRecord(log.name, logging.WARNING, __file__, 7, "%d attempts", (SECRETS[0],), None))
    assert [record["message"] for record in lines()] == ["a record of test_logs.py:7 could not be written"]


def test_configuring_again_does_not_write_twice(lines: Lines) -> None:
    configure_logs(json=True, level="WARNING")
    log.info("too quiet")
    log.warning("once")
    logging.getLogger("library").info("not asked for")
    assert [record["message"] for record in lines()] == ["once"]


def test_keys_of_well_known_services_leave_no_record() -> None:
    key = "ghp_" + "a1B2c3D4" * 4 + "e5F6"
    assert redact(f"the remote said {key}") == "the remote said [secret]"
