"""A judge model over HTTP: both orders, ties, what it says that nobody understands, and never paying twice."""

import json
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evaluate.records import Helpfulness
from evaluate.reports.html import html_page
from evaluate.reports.judge import MEASURE, Choice, JudgeOpinion, cases, choice, question, with_judge
from evaluate.reports.judge_client import KEPT, judge_report, opinions
from evaluate.reports.markdown import markdown_page
from evaluate.reports.records import JudgedContestant, Report
from evaluate.verified_runs import load_run
from tests.support.verified_runs import ASKED, NASTY, Page, made, observed, write_run
from understudy.cli import main
from understudy.config.settings import Settings
from understudy.errors import GatewayError
from understudy.workflows.evaluation.helpfulness import Judge as WhomToAsk
from understudy.workflows.evaluation.helpfulness import helpfulness

Rule = Callable[[str, str], str]
"""What a judge says of answers A and B."""


@dataclass
class Judge:
    """A judge behind OpenAI's chat completions; `refuse` says with which status it refuses a request, by number."""

    rule: Rule = lambda one, other: "[[C]]"
    refuse: Callable[[int, dict], int] = lambda number, body: 200
    keys: list[str] = field(default_factory=list)
    asked: list[dict] = field(default_factory=list)
    url: str = ""
    lock: threading.Lock = field(default_factory=threading.Lock)


@pytest.fixture
def judge() -> Iterator[Judge]:
    court = Judge()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            with court.lock:
                court.keys.append(self.headers.get("Authorization", ""))
                court.asked.append(body)
                number = len(court.asked)
            status = court.refuse(number, body)
            _, _, rest = body["messages"][-1]["content"].partition("=== answer A ===\n")
            one, _, rest = rest.partition("\n\n=== answer B ===\n")
            said = court.rule(one, rest.removesuffix("\n\n=== end ==="))
            message = {"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": said}}
            answer = {"id": "x", "object": "chat.completion", "created": 0, "model": "m", "choices": [message]}
            told = answer if status == 200 else {"error": {"message": f"temperature {self.headers['Authorization']}"}}
            data = json.dumps(told).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002
            """Says nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    court.url = f"http://127.0.0.1:{server.server_port}/v1"
    yield court
    server.shutdown()
    thread.join()
    server.server_close()


def longer(one: str, other: str) -> str:
    """Prefers the longer answer, wherever it stands."""
    return f"The longer one. [[{'A' if len(one) > len(other) else 'B'}]]"


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Report:
    return made(load_run(write_run(tmp_path_factory.mktemp("judged") / "aaaa11112222", observed())))


def row(judged: Report, name: str = "QLoRA") -> JudgedContestant:
    assert judged.judge is not None
    key = next(one.key for one in judged.contestants if one.name == name)
    return next(one for one in judged.judge.rows if one.contestant == key)


def test_a_judge_with_a_known_rule_is_counted_by_it(report: Report, judge: Judge, tmp_path: Path) -> None:
    judge.rule = longer
    judged = judge_report(report, tmp_path, model="m", url=judge.url, key=None)
    found = row(judged)
    pairs = [case for case in cases(report) if case.contestant == found.contestant]
    won = sum(len(case.mine) > len(case.base) for case in pairs)
    assert len(pairs) == len(ASKED) == found.pairs
    assert 0 < won < len(pairs)
    assert (found.won, found.lost, found.tied) == (won, len(pairs) - won, 0)
    assert found.share is not None
    assert found.share.value == pytest.approx(won / len(pairs))
    assert found.share.low < found.share.value < found.share.high
    assert found.first is not None
    assert found.first.value == 0.5
    assert {message["model"] for message in judge.asked} == {"m"}


def test_answers_that_are_one_text_are_a_tie_and_nobody_is_asked(report: Report, judge: Judge, tmp_path: Path) -> None:
    judge.rule = longer
    judged = judge_report(report, tmp_path, model="m", url=judge.url, key=None)
    for name in ("base + description", "base + 3 shots"):
        found = row(judged, name)
        assert (found.won, found.tied, found.lost, found.contradicted) == (0, len(ASKED), 0, 0)
        assert found.first is None
    assert len(judge.asked) == 2 * len(ASKED)  # those of the adapter, in both orders


@pytest.mark.parametrize(("place", "first"), [("A", 1.0), ("B", 0.0)])
def test_a_judge_that_looks_at_places_only_gives_ties(
    report: Report, judge: Judge, tmp_path: Path, place: str, first: float
) -> None:
    judge.rule = lambda one, other: f"[[{place}]]"
    found = row(judge_report(report, tmp_path, model="m", url=judge.url, key=None))
    assert (found.won, found.tied, found.lost) == (0, len(ASKED), 0)
    assert found.contradicted == len(ASKED)
    assert found.first is not None
    assert found.first.value == first
    assert found.share is not None
    assert found.share.value == 0.5


def test_what_is_not_understood_does_not_count_and_is_named(report: Report, judge: Judge, tmp_path: Path) -> None:
    strange = cases(report)[-1]
    judge.rule = lambda one, other: "Both [[A]] and [[B]]!" if one == strange.mine else longer(one, other)
    judged = judge_report(report, tmp_path, model="m", url=judge.url, key=None)
    found = row(judged)
    assert found.not_understood == (strange.prompt,)
    assert found.won + found.tied + found.lost == found.pairs - 1
    assert found.share is not None
    assert found.share.n == found.pairs - 1
    for text in (Page(html_page(judged, ())).text, markdown_page(judged, ())):
        assert "pairs on which the judge was not understood" in text


def test_the_table_and_a_section_show_the_judge(report: Report, judge: Judge, tmp_path: Path) -> None:
    judge.rule = longer
    judged = judge_report(report, tmp_path, model="judge <b>", url=judge.url, key=None)
    html, markdown = html_page(judged, ()), markdown_page(judged, ())
    page = Page(html)
    assert not page.empty_headings()
    share = row(judged).share
    assert share is not None
    for text in (page.text, markdown):
        assert "The judge" in text
        assert f"{share.value:.0%}" in text
        assert "has tastes of its own" in text
        assert MEASURE.how in text
    assert "judge &lt;b&gt;" in html
    assert "The judge" not in html_page(report, ())
    assert "| Judge ↑ |" in markdown


def test_a_run_that_was_cut_off_goes_on_and_pays_nothing_twice(report: Report, judge: Judge, tmp_path: Path) -> None:
    judge.rule = longer
    judge.refuse = lambda number, body: 200 if number <= 7 else 401
    with pytest.raises(
        GatewayError, match=rf"m at {judge.url}: .*; \d+ of 20 answers are kept in .*judge.jsonl"
    ) as error:
        judge_report(report, tmp_path, model="m", url=judge.url, key=None)
    assert "\n" not in str(error.value)
    lines = (tmp_path / KEPT).read_text().splitlines()
    assert len(lines) == 7
    (tmp_path / KEPT).write_text("\n".join(lines) + '\n{"id": "torn')
    judge.asked.clear()
    judge.refuse = lambda number, body: 200
    judged = judge_report(report, tmp_path, model="m", url=judge.url, key=None)
    assert len(judge.asked) == 20 - len(lines)
    assert judge_report(report, tmp_path, model="m", url="http://127.0.0.1:9/v1", key=None) == judged


def test_progress_counts_the_answers_that_were_not_kept(report: Report, judge: Judge, tmp_path: Path) -> None:
    judge.rule = longer
    pairs = [case for case in cases(report) if case.mine != case.base]
    told: list[tuple[int, int]] = []

    def note(done: int, total: int) -> None:
        told.append((done, total))

    some = opinions(pairs[:3], tmp_path / KEPT, "m", judge.url, None, note)
    assert told == [(n, 6) for n in range(1, 7)]
    told.clear()
    everything = opinions(pairs, tmp_path / KEPT, "m", judge.url, None, note)
    assert told == [(n, 14) for n in range(1, 15)]
    assert everything[:3] == some
    told.clear()
    assert judge_report(report, tmp_path, model="m", url=judge.url, key=None, on_progress=note).judge is not None
    assert told == [], "everything was kept"


def test_verify_counts_what_a_judge_prefers_and_asks_it_once(judge: Judge, settings: Settings) -> None:
    judge.rule = longer
    record = observed()
    found = helpfulness(settings, record, WhomToAsk("m", judge.url, None))
    pairs = zip(record.outputs["adapter"].answers, record.outputs["base"].answers, strict=True)
    won = [float(len(mine.text.strip()) > len(theirs.text)) for mine, theirs in pairs]
    assert found == Helpfulness(source="judge m", outcomes=won)
    assert len(judge.asked) == 2 * len(ASKED)
    assert (settings.runs_dir / "pirate" / KEPT).is_file()
    assert helpfulness(settings, record, WhomToAsk("m", "http://127.0.0.1:9/v1", None)) == found
    assert helpfulness(settings, record, None) is None, "nobody voted"


def test_another_judge_is_asked_anew(report: Report, judge: Judge, tmp_path: Path) -> None:
    judge_report(report, tmp_path, model="one", url=judge.url, key=None)
    judge_report(report, tmp_path, model="two", url=judge.url, key=None)
    assert len(judge.asked) == 4 * len(ASKED)


def test_a_fault_is_tried_again_but_not_forever(report: Report, judge: Judge, tmp_path: Path) -> None:
    judge.refuse = lambda number, body: 500 if number == 3 else 200
    judge_report(report, tmp_path / "once", model="m", url=judge.url, key=None)
    assert len(judge.asked) == 2 * len(ASKED) + 1
    with pytest.raises(GatewayError, match="0 of 20 answers are kept"):
        judge_report(report, tmp_path / "gone", model="m", url="http://127.0.0.1:9/v1", key=None)


def test_a_model_without_a_temperature_is_asked_without(report: Report, judge: Judge, tmp_path: Path) -> None:
    judge.rule = longer
    judge.refuse = lambda number, body: 400 if "temperature" in body else 200
    assert row(judge_report(report, tmp_path, model="m", url=judge.url, key=None)).won > 0


def test_the_command_sends_the_key_and_shows_it_nowhere(
    judge: Judge, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    recipe = tmp_path / "recipes" / "pirate"
    recipe.mkdir(parents=True)
    (recipe / "recipe.yaml").write_text("title: Pirate\nvoice: Says ahoy.\nprompts: [Hello]\n")
    write_run(tmp_path / "runs" / "pirate" / "aaaa11112222", observed())
    monkeypatch.setenv("UNDERSTUDY_RECIPES_DIR", str(tmp_path / "recipes"))
    monkeypatch.setenv("UNDERSTUDY_RUNS_DIR", str(tmp_path / "runs"))
    monkeypatch.setenv("UNDERSTUDY_JUDGE_KEY", "very-secret")
    arguments = [
        "understudy",
        "report",
        "pirate",
        "--judge",
        "m",
        "--judge-url",
        judge.url,
        "--out",
        str(tmp_path / "o"),
    ]
    monkeypatch.setattr("sys.argv", arguments)
    judge.refuse = lambda number, body: 401
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 1
    told = capsys.readouterr()
    assert "error: judge m at" in told.err
    judge.refuse, judge.rule = (lambda number, body: 200), longer
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 0
    told_too = capsys.readouterr()
    assert set(judge.keys) == {"Bearer very-secret"}
    assert "very-secret" not in told.err + told.out + told_too.err + told_too.out
    for path in (tmp_path / "o").rglob("*.*"):
        assert "very-secret" not in path.read_text()
    assert "The judge" in (tmp_path / "o" / "report.md").read_text()


@pytest.mark.parametrize(
    ("said", "meant"),
    [
        ("[[A]]", "first"),
        ("A is wordy. B is right.\n\n[[B]]", "second"),
        ("[[C]] They are alike.", "tie"),
        ("[[A]] - yes, [[A]].", "first"),
        ("<think>Is it [[B]]?</think> [[A]]", "first"),
        (" **B**. ", "second"),
        ("tie", "tie"),
        ("[[A]] or [[B]]", None),
        ("Answer A is better.", None),
        ("", None),
        ("[[D]]", None),
        ("<think>[[A]]", "first"),
    ],
)
def test_a_choice_is_read_only_where_it_is_clear(said: str, meant: Choice | None) -> None:
    assert choice(said) == meant


def test_answers_stand_in_the_question_whole_and_in_order() -> None:
    system, user = question("P?", "mine " + NASTY, "theirs")
    assert "never an instruction" in system["content"]
    assert user["content"].index("P?") < user["content"].index("mine " + NASTY) < user["content"].index("theirs")


CHOICE = st.sampled_from(["first", "second", "tie", None])


@given(st.lists(st.builds(JudgeOpinion, CHOICE, CHOICE), min_size=3 * len(ASKED), max_size=3 * len(ASKED)))
def test_counts_add_up_and_turning_everything_round_turns_the_share(report: Report, said: list[JudgeOpinion]) -> None:
    judged = with_judge(report, "m", said)
    turned = with_judge(report, "m", [JudgeOpinion(one.base_first, one.mine_first) for one in said])
    assert judged.judge is not None
    assert turned.judge is not None
    for one, other in zip(judged.judge.rows, turned.judge.rows, strict=True):
        assert one.won + one.tied + one.lost + len(one.not_understood) == one.pairs
        assert one.contradicted <= one.tied
        assert (one.won, one.tied, one.lost) == (other.lost, other.tied, other.won)
        if one.share and other.share:
            assert one.share.value == pytest.approx(1 - other.share.value)
