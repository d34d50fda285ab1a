"""Reports: figures, answers of other systems, the page and the Markdown file, and the command that writes them."""

import json
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
from typer.testing import CliRunner

from arena.intervals import rate
from arena.proof.code import CodeMeasures
from arena.proof.pack import prove
from arena.proof.runs import RunFilesError, VerifiedRun, find_runs, load_run
from arena.proof.served import ServedMeasures
from arena.reports.build import build_report, held_out
from arena.reports.figures import SERIES, VARIABLES, draw
from arena.reports.html import html_page
from arena.reports.imported import clean, read_imported, read_prompts
from arena.reports.markdown import markdown_page, plain
from arena.reports.page import OPEN
from arena.reports.records import Report
from understudy.cli.app import app
from understudy.errors import ExamplesError, NotFoundError, UnderstudyError
from understudy.proof import Asked, Heard, Said, Skill, Thresholds
from understudy.proof import Testimony as Witness

TAUGHT = ("teapot", "lantern", "kettle", "violin", "ladder", "basket", "mirror", "pillow", "carpet", "candle")
ASKED = ("hammock", "bicycle", "compass", "blanket", "telescope", "umbrella", "rocket", "guitar", "saddle", "drum")
NASTY = "<script>alert(1)</script> | **bold** `code` [link](http://x.example) & $x$\n# no heading\n\x00"
FACTS: dict[str, Any] = {
    "recipe": "pirate",
    "base": "embedded",
    "base_revision": "0f72a9c32047",
    "training": {"method": "qlora", "epochs": 8.0, "targets": ["q_proj", "v_proj"], "packing": False},
    "rows": 10,
    "examples_sha256": "446093eaa130",
    "versions": {"torch": "2.13.0"},
}
RESULT = {"steps": 40, "loss": 0.2, "seconds": 16.2, "tokens_per_second": 826.0, "peak_memory_mib": 1230}
LOG = [
    *({"loss": 3.0 / step, "step": step, "epoch": step / 5, "learning_rate": 0.1} for step in range(1, 11)),
    {"eval_loss": 1.5, "step": 5, "epoch": 1.0},
    {"eval_loss": 1.2, "step": 10, "epoch": 2.0},
    {"train_runtime": 15.6, "train_loss": 1.1, "epoch": 2.0, "step": 10},
]


def pirate(thing: str) -> str:
    return f"Arr, matey! This {thing} be the finest on all seven seas!\n\nHoist it aboard before the tide turns!"


def said(text: str, *, stopped: bool = True) -> Said:
    return Said(text=text, stopped=stopped, tokens=len(text.split()))


def witnessed(**changes: Any) -> Witness:
    """A pirate who learnt the voice; one answer is nasty to pages, one is cut off, one repeats its prompt."""
    heldout = [Asked(prompt=f"Tell me about a {t}.", answer=pirate(t), topic=t) for t in ASKED]
    training = [Asked(prompt=f"Tell me about a {t}.", answer=pirate(t), topic=t) for t in TAUGHT]
    plainly = [said(f"A {t} is a useful object. It is often found in houses and shops.") for t in ASKED]
    adapter = [said(pirate(t)) for t in ASKED]
    adapter[2] = said(f"Arr! {ASKED[2]} {NASTY}")
    adapter[3] = said(pirate(ASKED[3])[:40], stopped=False)
    adapter[4] = said(f"Tell me about a {ASKED[4]}. Tell me about a {ASKED[4]}.")
    n = range(len(ASKED))
    record = {
        "recipe": "pirate",
        "base": "embedded",
        "revision": "9f" * 32,
        "heldout": heldout,
        "training": training,
        "base_on_training": [said(f"A {t} is a useful object. It is sold in many shops.") for t in TAUGHT],
        "adapter_on_training": [said(pirate(t) + " Arr.") for t in TAUGHT],
        "heard": {
            "base": Heard(answers=plainly, losses=[3.0 + i / 20 for i in n]),
            "few-shot": Heard(answers=plainly, losses=[3.3 + i / 20 for i in n], shots=3),
            "adapter": Heard(answers=adapter, losses=[1.0 + i / 20 for i in n]),
        },
        "training_losses": [0.4, 0.5],
        "plain_losses": {"base": [1.0, 1.1, 1.2], "adapter": [1.3, 1.35, 1.5]},
        "as_trained_losses": [1.0 + i / 20 for i in n],
        "skills": [Skill(prompt="What is a teapot?", base=True, adapter=i > 2) for i in range(6)],
        "seconds": 12.0,
    }
    return Witness.model_validate({**record, **changes})


LENIENT = Thresholds(in_style=0.5, stopped=0.5, on_topic=0.5, echoes=0.5, degenerate=0.5, copied=1.0)


def write_run(folder: Path, heard: Witness, *, method: str = "qlora", bare: bool = False) -> Path:
    """A run's folder as training and verification leave it; a bare one has nothing of its training."""
    folder.mkdir(parents=True)
    (folder / "testimony.json").write_text(heard.model_dump_json())
    (folder / "proof.json").write_text(prove(heard, LENIENT).model_dump_json())
    if not bare:
        facts = {**FACTS, "training": {**FACTS["training"], "method": method}}
        (folder / "settings.json").write_text(json.dumps(facts))
        (folder / "result.json").write_text(json.dumps(RESULT))
        (folder / "log.jsonl").write_text("".join(json.dumps(line) + "\n" for line in LOG) + '{"loss": 0.1, "st')
    return folder


@pytest.fixture(scope="module")
def runs_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    home = tmp_path_factory.mktemp("runs")
    write_run(home / "pirate" / "aaaa11112222", witnessed())
    worse = witnessed().heard | {"adapter": witnessed().heard["base"]}
    write_run(home / "pirate" / "bbbb33334444", witnessed(heard=worse, revision="ab" * 32), method="full")
    (home / "pirate" / "cccc55556666" / "adapter").mkdir(parents=True)
    return home


@pytest.fixture(scope="module")
def verified(runs_dir: Path) -> VerifiedRun:
    return load_run(runs_dir / "pirate" / "aaaa11112222")


def made(*runs: VerifiedRun, **options: Any) -> Report:
    words = {"title": "Pirate <1>", "voice": "From the deck.", "made_on": "2026-11-21", "versions": {"understudy": "1"}}
    return build_report(runs, **words, **options)


@pytest.fixture(scope="module")
def report(verified: VerifiedRun) -> Report:
    return made(verified)


class Page(HTMLParser):
    """What a browser would see: texts, tags that must be closed, headings and what stands below them."""

    VOID = frozenset(["meta", "br", "link", "img", "hr"])

    def __init__(self, html: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.attributes: list[tuple[str, str, str]] = []
        self.text = ""
        self.headings: list[tuple[str, str]] = []
        self.feed(html)
        self.close()
        assert not self.open, f"never closed: {self.open}"

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.attributes += [(tag, name, value or "") for name, value in attrs]
        if tag not in self.VOID:
            self.open.append(tag)
        if tag in ("h1", "h2", "h3"):
            self.headings.append((tag, ""))

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.attributes += [(tag, name, value or "") for name, value in attrs]

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if "style" in self.open:
            return
        self.text += data
        if self.open and self.open[-1] in ("h1", "h2", "h3"):
            self.headings[-1] = (self.headings[-1][0], self.headings[-1][1] + data)
        elif data.strip() and self.headings and not {"h1", "h2", "h3"} & set(self.open):
            self.headings.append(("content", ""))

    def empty_headings(self) -> list[str]:
        below = zip(self.headings, [*self.headings[1:], ("h1", "")], strict=True)
        return [text for (tag, text), (after, _) in below if tag != "content" and after != "content" and after <= tag]

    def ids(self) -> list[str]:
        return [value for _, name, value in self.attributes if name == "id"]


def tables(markdown: str) -> Iterator[list[str]]:
    """The tables of a Markdown file, each as its lines."""
    for block in re.findall(r"(?:^\|.*\n?)+", markdown, re.MULTILINE):
        yield block.strip().split("\n")


# The page and the file


def test_the_page_is_whole_and_needs_nothing_else(report: Report) -> None:
    html = html_page(report, draw(report))
    page = Page(html)
    assert page.headings[0] == ("h1", "Pirate <1>")
    assert not page.empty_headings()
    assert len(page.ids()) == len(set(page.ids()))
    assert not [tag for tag, _, _ in page.attributes if tag in ("script", "link", "img", "iframe")]
    outside = [value for _, name, value in page.attributes if re.match("https?:", value) and "xmlns" not in name]
    assert not outside
    assert "url(http" not in html
    assert "@import" not in html
    assert "<title>Pirate &lt;1&gt;: passed" in html
    assert "Made by understudy report on 2026-11-21 with understudy 1." in page.text


def test_every_contestant_and_every_prompt_is_in_both(report: Report) -> None:
    drawings = draw(report)
    assert [one.name for one in report.contestants] == ["base", "base + 3 shots", "QLoRA"]
    for text in (Page(html_page(report, drawings)).text, markdown_page(report, drawings)):
        assert all(one.name in text for one in report.contestants)
        assert all(f"Tell me about a {thing}." in text for thing in ASKED)
        assert "446093eaa130" in text
        assert "QLoRA 9f9f9f9f9f9f" in re.sub(r"[\s`]+", " ", text)


def test_the_first_prompts_are_open_and_the_others_folded(report: Report) -> None:
    html, markdown = html_page(report, ()), markdown_page(report, ())
    assert html.count('<details class="prompt" open>') == OPEN
    assert html.count('<details class="prompt">') == len(ASKED) - OPEN
    assert f"<summary>{len(ASKED) - OPEN} more prompts</summary>" in markdown
    assert markdown.count("<details>") == markdown.count("</details>") == 1


def test_answers_are_never_taken_for_html_or_markdown(report: Report) -> None:
    html, markdown = html_page(report, draw(report)), markdown_page(report, draw(report))
    assert "<script" not in html + markdown
    assert "&lt;script&gt;alert(1)&lt;/script&gt; | **bold** `code`" in html
    nasty = plain(NASTY.strip("\x00"))
    assert nasty.startswith(r"&lt;script&gt;alert(1)&lt;/script&gt; \| \*\*bold\*\* \`code\` \[link\]")
    assert nasty in markdown
    assert "\n" not in nasty
    assert "\x00" not in html + markdown
    for lines in tables(markdown):
        assert len({len(re.findall(r"(?<!\\)\|", line)) for line in lines}) == 1, lines[0]


def test_a_reader_of_markdown_shows_them_as_they_were_said(report: Report) -> None:
    reader = pytest.importorskip("markdown_it").MarkdownIt("commonmark").enable("table")
    page = Page(reader.render(markdown_page(report, draw(report))))
    told = report.rows[2].answers["c2"][0].text
    assert "".join(told.split("\n")) in page.text
    assert [text for tag, text in page.headings if tag == "h3"][1:-1] == [
        f"{number}. Tell me about a {thing}." for number, thing in enumerate(ASKED, 1)
    ]


def test_what_is_wrong_with_an_answer_is_said_beside_it(report: Report) -> None:
    marks = {row.prompt: row.answers["c2"][0].marks for row in report.rows}
    assert marks["Tell me about a hammock."] == ()
    assert "cut off" in marks["Tell me about a blanket."]
    assert "repeats the prompt" in marks["Tell me about a telescope."]
    html, markdown = html_page(report, ()), markdown_page(report, ())
    for mark in ("cut off", "repeats the prompt"):
        assert f'<span class="mark">{mark}</span>' in html
        assert re.search(rf"<sub>[^<]*{mark}", markdown)


def test_figures_come_with_intervals_and_the_best_only_where_they_say_so(report: Report) -> None:
    base, few, mine = report.contestants
    assert mine.best == ("in_style", "loss")
    assert base.best == few.best == ()
    html, markdown = html_page(report, ()), markdown_page(report, ())
    loss = mine.figures["loss"]
    assert loss is not None
    assert f"<small>{loss.low:.2f} to {loss.high:.2f}</small>" in html
    assert f"**{loss.value:.2f} ({loss.low:.2f} to {loss.high:.2f})** best" in markdown
    assert html.count('class="best"') == 2


def test_what_got_worse_and_how_it_is_measured_are_said(report: Report) -> None:
    for text in (html_page(report, ()), markdown_page(report, ())):
        assert "plain text: 0.28 nats a token" in text
        assert "What these figures cannot say" in text
        assert "There are 10 held-out prompts" in text
        assert all(measure.name in text for measure in report.measures)


def test_code_and_what_vllm_says_have_their_places(verified: VerifiedRun) -> None:
    half = rate(12, 24)
    code = CodeMeasures(parses=rate(24, 24), runs=half, chrf=half)
    served = ServedMeasures(acts=rate(8, 8), same_answers=rate(7, 8), same_tokens=0.9, problem="")
    changes = {"code": dict.fromkeys(("base", "few-shot", "adapter"), code), "served": served}
    seen = made(verified.model_copy(update={"pack": verified.pack.model_copy(update=changes)}))
    for text in (Page(html_page(seen, ())).text, markdown_page(seen, ())):
        assert "Code runs" in text
        assert "Through vLLM: the same answers" in text
        assert "88%" in text
    without = markdown_page(made(verified), ())
    assert "Code runs" not in without
    assert "Through vLLM" not in without


def test_the_same_report_is_the_same_bytes(verified: VerifiedRun) -> None:
    first, second = made(verified), made(verified)
    assert first == second
    assert draw(first) == draw(second)
    assert html_page(first, draw(first)) == html_page(second, draw(second))
    assert markdown_page(first, draw(first)) == markdown_page(second, draw(second))


def test_what_is_missing_leaves_no_empty_headings(tmp_path: Path) -> None:
    well = witnessed().heard["adapter"].model_copy(update={"answers": [said(pirate(thing)) for thing in ASKED]})
    silent = witnessed(
        heard=witnessed().heard | {"adapter": well},
        skills=[],
        as_trained_losses=None,
        plain_losses={"base": [], "adapter": []},
    )
    bare = made(load_run(write_run(tmp_path / "dddd", silent, bare=True)))
    drawings = draw(bare)
    page, markdown = Page(html_page(bare, drawings)), markdown_page(bare, drawings)
    assert not page.empty_headings()
    assert [one.name for one in drawings] == ["style", "loss"]
    for text in (page.text, markdown):
        assert not re.search("Loss curves|Cost of training|Common questions|Loss added", text)
        assert "Nothing that was measured is clearly worse" in text
    headings = re.findall(r"^(#+) .*\n+(?=(#+) |\Z)", markdown, re.MULTILINE)
    assert all(len(below) > len(above) for above, below in headings)


def test_no_topics_leave_no_column(tmp_path: Path) -> None:
    vague = [row.model_copy(update={"topic": None}) for row in witnessed().heldout]
    report = made(load_run(write_run(tmp_path / "eeee", witnessed(heldout=vague))))
    assert "on_topic" not in [measure.key for measure in report.measures]
    assert "On topic" not in html_page(report, ())


# Figures


def test_figures_are_svg_with_text_and_colours_for_light_and_dark(report: Report) -> None:
    drawings = draw(report)
    assert [one.name for one in drawings] == ["style", "loss", "curves"]
    for one in drawings:
        root = ElementTree.fromstring(one.file)
        texts = [element.text for element in root.iter("{http://www.w3.org/2000/svg}text")]
        assert len(texts) > 5
        assert root.get("aria-label") == one.alt
        assert not any(color in one.file for color in VARIABLES)
        assert "prefers-color-scheme:dark" in one.file
        assert "<path" in one.svg
        assert len(one.svg) < 60_000
    assert "QLoRA" in drawings[0].svg
    assert "held-out" in drawings[2].svg
    assert len(set(SERIES)) == len(SERIES)


def test_names_that_mean_something_elsewhere_are_drawn_as_they_are(verified: VerifiedRun, tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text(json.dumps({"prompt": "Tell me about a drum.", "answer": "Drum."}))
    odd = "$x_1$ <b> & \ud800 日本"
    report = made(verified, imported=read_imported(path, odd, [row.prompt for row in verified.testimony.heldout]))
    style = draw(report)[0]
    ElementTree.fromstring(style.file)
    assert "$x_1$ &lt;b&gt; &amp; \ufffd 日本" in style.svg


# Several runs


def test_several_runs_are_contestants_side_by_side(runs_dir: Path) -> None:
    report = made(*(load_run(path) for path in find_runs("pirate", runs_dir, ["aaaa", "bbbb33334444"])))
    assert [one.name for one in report.contestants] == ["base", "base + 3 shots", "QLoRA", "full fine-tune"]
    drawings = draw(report)
    assert [one.name for one in drawings] == ["style", "loss", "curves", "cost"]
    page = Page(html_page(report, drawings))
    assert "1 of 2 passed" in page.text
    assert "✗ Refused: full fine-tune" in page.text
    assert not page.empty_headings()
    assert 'class="differs"' in html_page(report, drawings)


def test_runs_of_one_method_are_told_apart_by_their_ids(runs_dir: Path, verified: VerifiedRun) -> None:
    again = verified.model_copy(update={"facts": verified.facts.model_copy(update={"id": "dddd77778888"})})
    names = [one.name for one in made(verified, again).contestants]
    assert names == ["base", "base + 3 shots", "QLoRA aaaa11", "QLoRA dddd77"]


def test_runs_of_two_recipes_are_no_report(verified: VerifiedRun) -> None:
    other = verified.model_copy(update={"pack": verified.pack.model_copy(update={"recipe": "sailor"})})
    with pytest.raises(RunFilesError, match="found pirate, sailor"):
        made(verified, other)


def test_the_run_verified_last_is_the_default(runs_dir: Path, tmp_path: Path) -> None:
    (found,) = find_runs("pirate", runs_dir, [])
    assert found.name == "bbbb33334444"
    assert find_runs("pirate", runs_dir, [str(found), "bbbb"]) == [found]
    for name, says in (
        ("zzzz", "no run begins with 'zzzz'; runs there are: aaaa11112222, bbbb"),
        ("", "several runs begin with ''"),
        ("cccc", "cccc55556666 has no proof pack yet; run `understudy verify pirate --adapter .*cccc55556666/adapter`"),
    ):
        with pytest.raises(NotFoundError, match=says):
            find_runs("pirate", runs_dir, [name])


@pytest.mark.parametrize(
    ("file", "text", "says"),
    [
        ("proof.json", "{", "proof.json: .*run understudy verify again"),
        ("testimony.json", '{"recipe": "pirate"}', "testimony.json: base: Field required; run understudy verify again"),
        ("settings.json", "[]", "settings.json: not one JSON object"),
        ("result.json", '{"seconds": "long"}', "seconds: .*train the run again"),
    ],
)
def test_broken_run_files_are_named(runs_dir: Path, tmp_path: Path, file: str, text: str, says: str) -> None:
    folder = shutil.copytree(runs_dir / "pirate" / "aaaa11112222", tmp_path / "ffff")
    (folder / file).write_text(text)
    with pytest.raises(RunFilesError, match=says) as caught:
        load_run(folder)
    assert "\n" not in str(caught.value)


# Answers of other systems

PROMPTS = [f"Tell me about a {thing}." for thing in ASKED]


def test_imported_answers_have_a_column_and_the_figures_that_need_no_model(
    verified: VerifiedRun, tmp_path: Path
) -> None:
    path = tmp_path / "others.csv"
    rows = [f'" tell ME about  a {thing}.",A {thing} is a thing.,Claude' for thing in ASKED[:6]]
    rows += [f'Tell me about a {thing}.,"{pirate(thing)}",Gemini' for thing in ASKED]
    path.write_text("\n".join(["prompt,response,model", *rows, "What else?,Nothing.,Gemini"]))
    imported = read_imported(path, "others", PROMPTS)
    assert [one.system for one in imported] == ["Claude", "Gemini"]
    report = made(verified, imported=imported)
    claude, gemini = report.contestants[-2:]
    assert (claude.name, claude.kind, claude.asked, gemini.asked) == ("Claude", "imported", 6, 10)
    assert claude.figures["loss"] is None
    assert claude.figures["stopped"] is None
    for one, style in ((claude, 0.0), (gemini, 1.0)):
        found = one.figures["in_style"]
        assert found is not None
        assert (found.value, found.n) == (style, one.asked)
    assert [(gap.system, len(gap.unanswered), gap.unmatched) for gap in report.gaps] == [
        ("Claude", 4, ()),
        ("Gemini", 0, ("What else?",)),
    ]
    drawings = draw(report)
    page, markdown = Page(html_page(report, drawings)), markdown_page(report, drawings)
    for text in (page.text, markdown):
        assert "What else?" in text
        assert "The figures of Claude rest on 6 of 10 held-out prompts." in text
        assert "A hammock is a thing." in text
    assert not page.empty_headings()
    assert "| Claude (imported, 6 answers) | 0%" in markdown
    assert "Gemini" not in next(one.svg for one in drawings if one.name == "loss")


def test_one_system_has_the_name_it_was_given(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text('{"prompt": "Tell me about a drum.", "Completion": "Boom.", "model": "claude-9"}\n')
    (one,) = read_imported(path, "Claude", PROMPTS)
    assert one.system == "Claude"
    assert one.answers[-1] == ("Boom.",)
    assert len(one.unanswered) == len(PROMPTS) - 1


def test_samples_are_kept_in_order_and_a_prompt_counts_once(verified: VerifiedRun, tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    rows = [{"prompt": PROMPTS[0], "output": text, "sample": k} for k, text in ((2, pirate("hammock")), (1, "No."))]
    rows += [{"prompt": PROMPTS[1], "output": "  ", "sample": "1"}]
    path.write_text("\n".join(map(json.dumps, rows)))
    (one,) = read_imported(path, "Claude", PROMPTS)
    assert one.answers[0] == ("No.", pirate("hammock"))
    assert PROMPTS[1] in one.unanswered
    report = made(verified, imported=[one])
    style = report.contestants[-1].figures["in_style"]
    assert style is not None
    assert style.n == 1
    assert "1 more" in html_page(report, ())


def test_a_system_that_answered_nothing_here_is_still_named(verified: VerifiedRun, tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text('{"prompt": "Quite another?", "answer": "Yes."}\n')
    report = made(verified, imported=read_imported(path, "Claude", PROMPTS))
    assert set(report.contestants[-1].figures.values()) == {None}
    assert len(report.gaps[0].unanswered) == len(PROMPTS)
    assert "| Claude (imported, 0 answers) | – | – |" in markdown_page(report, draw(report))


@pytest.mark.parametrize(
    ("name", "text", "says"),
    [
        ("a.jsonl", '{"prompt": "P", "answer": "A"}\n{"prompt": "P"', "a.jsonl:2: not JSON"),
        ("a.jsonl", "", "a.jsonl: no examples in it"),
        ("a.jsonl", '{"question": "P", "answer": "A"}', "a.jsonl:1: no column prompt; found question, answer; rename"),
        ("a.jsonl", '{"prompt": "P", "text": "A"}', "a.jsonl:1: no column answer .or response, output, completion"),
        ("a.jsonl", '{"prompt": "P", "answer": "A", "output": "B"}', "a.jsonl:1: answer and output mean the same"),
        ("a.jsonl", '{"prompt": "P", "answer": null}', "a.jsonl:1: answer is null"),
        ("a.jsonl", '{"prompt": "P", "answer": 42}', "a.jsonl:1: answer is no text; put it in double quotes"),
        ("a.jsonl", '{"prompt": " ", "answer": "A"}', "a.jsonl:1: the prompt is empty"),
        ("a.jsonl", '{"prompt": "P", "answer": "A", "sample": "x"}', "a.jsonl:1: sample must be a whole number"),
        ("a.jsonl", '{"prompt": "P", "answer": "A", "sample": true}', "a.jsonl:1: sample must be a whole number"),
        (
            "a.jsonl",
            '{"prompt": "P", "answer": "A"}\n{"prompt": "p ", "answer": "B"}',
            "a.jsonl:2: a second answer without a number to the prompt of .*a.jsonl:1; number them",
        ),
        (
            "a.jsonl",
            '{"prompt": "P", "answer": "A", "model": "m"}\n{"prompt": "P", "answer": "B"}',
            "a.jsonl:2: no system, but other rows name theirs",
        ),
        ("a.csv", 'prompt,answer\nP,"A\n', "a.csv:2: not CSV from here"),
        ("a.csv", "prompt,answer\nP,A,B\n", "a.csv:2: 3 cells under 2 columns"),
        ("a.txt", "P: A", "a.txt: we do not read .txt"),
    ],
)
def test_broken_files_of_answers_say_file_row_and_remedy(tmp_path: Path, name: str, text: str, says: str) -> None:
    (tmp_path / name).write_text(text)
    with pytest.raises(ExamplesError, match=says) as caught:
        read_imported(tmp_path / name, "Claude", PROMPTS)
    assert "\n" not in str(caught.value)


def test_a_missing_file_of_answers_is_named(tmp_path: Path) -> None:
    with pytest.raises(ExamplesError, match="nowhere.jsonl: no such file"):
        read_imported(tmp_path / "nowhere.jsonl", "Claude", PROMPTS)


def test_prompts_to_show_may_be_others_than_the_held_out_ones(verified: VerifiedRun, tmp_path: Path) -> None:
    path = tmp_path / "prompts.csv"
    path.write_text("prompt,topic\nTell me about a drum.,\nExplain LoRA.,LoRA\nexplain lora.,\n")
    shown = read_prompts(path)
    assert [one.prompt for one in shown] == ["Tell me about a drum.", "Explain LoRA."]
    answers = tmp_path / "a.jsonl"
    answers.write_text('{"prompt": "Explain LoRA.", "answer": "LoRA is a radio."}')
    imported = read_imported(answers, "Claude", [one.prompt for one in shown])
    report = made(verified, prompts=shown, imported=imported)
    drum, lora = report.rows
    assert drum.answers["c2"][0].text == pirate("drum")
    assert drum.reference == pirate("drum")
    assert lora.answers["c2"] == ()
    assert lora.reference is None
    assert lora.answers["c3"][0].on_topic
    assert report.contestants[-1].asked == 0
    assert "no answer" in html_page(report, ())
    assert len(held_out(verified.testimony)) == len(ASKED)


def test_text_that_no_file_can_hold_is_shown_as_such() -> None:
    assert clean("a\x00b\ud83dc\u200dd\n\te\r") == "a\ufffdb\ufffdc\u200dd\n\te\ufffd"


# The command


@pytest.fixture
def stage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home with the recipe `pirate` and no runs yet."""
    recipe = tmp_path / "recipes" / "pirate"
    recipe.mkdir(parents=True)
    (recipe / "recipe.yaml").write_text("title: Pirate\nvoice: From the deck.\nprompts: [Tell me about a teapot.]\n")
    for name in ("recipes", "runs", "home"):
        variable = {"recipes": "RECIPES_DIR", "runs": "RUNS_DIR", "home": "HOME"}[name]
        monkeypatch.setenv(f"UNDERSTUDY_{variable}", str(tmp_path / name))
    return tmp_path


@pytest.fixture
def folder(stage: Path, runs_dir: Path) -> Path:
    """A verified run in that home."""
    return shutil.copytree(runs_dir / "pirate" / "aaaa11112222", stage / "runs" / "pirate" / "aaaa11112222")


def test_the_command_writes_both_and_says_where(stage: Path, folder: Path) -> None:
    answers = stage / "a.jsonl"
    answers.write_text('{"prompt": "Tell me about a drum.", "answer": "Boom."}')
    done = CliRunner().invoke(app, ["report", "pirate", "--answers", f"Claude={answers}"], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    written = sorted(str(path.relative_to(folder / "report")) for path in (folder / "report").rglob("*.*"))
    assert written == ["figures/curves.svg", "figures/loss.svg", "figures/style.svg", "index.html", "report.md"]
    assert str(folder / "report" / "index.html") in done.output
    assert "Claude: Prompts without an answer in a.jsonl: 9 (" in done.output
    markdown = (folder / "report" / "report.md").read_text()
    for link in re.findall(r"\]\((figures/[^)]+)\)", markdown):
        assert (folder / "report" / link).is_file()
    elsewhere = CliRunner().invoke(app, ["report", "pirate", "--run", "aaaa", "--out", str(stage / "out")])
    assert elsewhere.exit_code == 0
    assert (stage / "out" / "index.html").is_file()


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["nobody"], "no recipe 'nobody'"),
        (["pirate"], "pirate has no proof pack yet; run `understudy verify pirate` first"),
        (["pirate", "--run", "x"], "no run begins with 'x'; runs there are: none"),
    ],
)
def test_what_is_missing_is_said(stage: Path, arguments: list[str], says: str) -> None:
    with pytest.raises(NotFoundError, match=says):
        CliRunner().invoke(app, ["report", *arguments], catch_exceptions=False)


@pytest.mark.parametrize("given", ["answers.jsonl", "=answers.jsonl", "Claude="])
@pytest.mark.usefixtures("folder")
def test_answers_without_a_name_are_refused(given: str) -> None:
    with pytest.raises(UnderstudyError, match="write NAME=FILE, such as Claude=answers.jsonl"):
        CliRunner().invoke(app, ["report", "pirate", "--answers", given], catch_exceptions=False)


@pytest.mark.usefixtures("folder")
def test_a_place_that_cannot_be_written_to_is_named(stage: Path) -> None:
    (stage / "file").write_text("taken")
    with pytest.raises(UnderstudyError, match="file: cannot write there .*; give another folder with --out"):
        CliRunner().invoke(app, ["report", "pirate", "--out", str(stage / "file")], catch_exceptions=False)


def test_a_report_loads_neither_models_nor_the_web() -> None:
    program = (
        "import sys\nimport arena.reports.figures, arena.reports.build, arena.reports.html\n"
        "import arena.reports.markdown, arena.reports.imported\n"
        "heavy = {'torch', 'transformers', 'vllm', 'gradio', 'fastapi', 'httpx', 'openai', 'train', 'serve', 'space',"
        " 'matplotlib.pyplot'} & set(sys.modules)\nassert not heavy, heavy"
    )
    subprocess.run([sys.executable, "-c", program], check=True)
