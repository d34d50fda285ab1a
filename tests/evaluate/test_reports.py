"""A report's page, its Markdown file and its figures: all that was said, and nothing taken for markup."""

import json
import re
from pathlib import Path
from xml.etree import ElementTree

import pytest

from evaluate.metrics.code_answers import CodeMeasures
from evaluate.records import Helpfulness
from evaluate.reports.figures import SERIES, VARIABLES, draw
from evaluate.reports.html import html_page
from evaluate.reports.imported_answers import read_imported
from evaluate.reports.markdown import OPEN, markdown_page, plain
from evaluate.reports.records import Report
from evaluate.reports.wording import reasons_to_pass
from evaluate.verified_runs import VerifiedRun, load_run
from tests.support.verified_runs import (
    ASKED,
    NASTY,
    Page,
    made,
    observed,
    pirate,
    report,
    runs_dir,
    said,
    tables,
    verified,
    write_run,
)
from understudy.statistics.intervals import Estimate, rate

__all__ = ["report", "runs_dir", "verified"]


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
    assert [one.name for one in report.contestants] == ["base", "base + description", "base + 3 shots", "QLoRA"]
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
    told = report.rows[2].answers["c3"][0].text
    assert "".join(told.split("\n")) in page.text
    assert [text for tag, text in page.headings if tag == "h3"][1:-1] == [
        f"{number}. Tell me about a {thing}." for number, thing in enumerate(ASKED, 1)
    ]


def test_what_is_wrong_with_an_answer_is_said_beside_it(report: Report) -> None:
    marks = {row.prompt: row.answers["c3"][0].marks for row in report.rows}
    assert marks["Tell me about a hammock."] == ()
    assert "cut off" in marks["Tell me about a blanket."]
    assert "repeats the prompt" in marks["Tell me about a telescope."]
    html, markdown = html_page(report, ()), markdown_page(report, ())
    for mark in ("cut off", "repeats the prompt"):
        assert f'<span class="mark">{mark}</span>' in html
        assert re.search(rf"<sub>[^<]*{mark}", markdown)


def test_figures_come_with_intervals_and_the_best_only_where_they_say_so(report: Report) -> None:
    *rivals, mine = report.contestants
    assert mine.best == ("sound", "in_style", "loss")
    assert {one.best for one in rivals} == {()}
    html, markdown = html_page(report, ()), markdown_page(report, ())
    loss = mine.figures["loss"]
    assert loss is not None
    assert f"<small>{loss.low:.2f} to {loss.high:.2f}</small>" in html
    assert f"**{loss.value:.2f} ({loss.low:.2f} to {loss.high:.2f})** best" in markdown
    assert html.count('class="best"') == 3


def test_what_got_worse_and_how_it_is_measured_are_said(report: Report) -> None:
    for text in (html_page(report, ()), markdown_page(report, ())):
        assert "neutral text: 0.28 nats a token" in text
        assert "What these figures cannot say" in text
        assert "There are 10 held-out prompts" in text
        assert all(measure.name in text for measure in report.measures)


def test_style_helpfulness_accuracy_and_fluency_stand_side_by_side(report: Report, verified: VerifiedRun) -> None:
    without = ["sound", "in_style", "accuracy", "chrf", "fluency", "made_up"]
    assert [measure.key for measure in report.measures][:6] == without, "nobody compared, so nothing is said of help"
    compared = {"helpfulness": Helpfulness(source="judge j", outcomes=[1.0] * 8 + [0.0] * 2), "helpful": rate(8, 10)}
    judged = made(verified.model_copy(update={"card": verified.card.model_copy(update=compared)}))
    assert [measure.key for measure in judged.measures][:3] == ["sound", "in_style", "helpful"]
    helpful = judged.contestants[-1].figures["helpful"]
    assert helpful is not None
    assert (helpful.value, helpful.n) == (0.8, 10)
    assert not any(one.figures["helpful"] for one in judged.contestants[:-1])
    assert not any(one.figures["fluency"] for one in judged.contestants[1:3]), "the base is not surprised by itself"
    html, markdown = html_page(judged, ()), markdown_page(judged, ())
    for text in (re.sub(r"\s+", " ", Page(html).text), markdown):
        assert all(f"{name} ↑" in text for name in ("Style and sense", "In style", "Helpfulness", "Accuracy"))
        assert all(f"{name} ↓" in text for name in ("Fluency", "Made-up words"))
        assert "helpfulness: not measured" not in text
    assert all(Page(html_page(one, ())).text.count("Helpfulness ↑") == k for one, k in ((report, 0), (judged, 1)))


@pytest.mark.parametrize(
    ("nats", "says"),
    [
        (-1.154, "1.15 nats a token below the data's own answers (less surprising; at most 0.5 above is allowed)"),
        (0.154, "0.15 nats a token above the data's own answers (at most 0.5 is allowed)"),
        (None, "its surprise to the base was not measured"),
    ],
)
def test_fluency_below_the_datas_own_is_said_to_be_below(verified: VerifiedRun, nats: float | None, says: str) -> None:
    excess = None if nats is None else Estimate(value=nats, low=nats, high=nats, n=10)
    mine = verified.card.contestants["adapter"]
    fluent = mine.model_copy(update={"fluency": mine.fluency.model_copy(update={"excess": excess})})
    contestants = {**verified.card.contestants, "adapter": fluent}
    sense = reasons_to_pass(verified.card.model_copy(update={"contestants": contestants}))[2]
    assert says in sense


def test_whether_it_beats_cheap_rivals_is_said_of_each(report: Report) -> None:
    page = Page(html_page(report, ()))
    assert ("h2", "Against cheap rivals") in page.headings
    assert "## Against cheap rivals" in markdown_page(report, ())
    for text in (page.text, markdown_page(report, ())):
        told = text.partition("Against cheap rivals\n")[2].partition("What got worse\n")[0]
        for rival in ("base", "base with the description as its prompt", "base with 3 examples"):
            assert f"better than the {rival}: 70% of its answers are in style and make sense, 0% of the" in told
        assert "helpfulness: not measured; give a judge (understudy verify --judge" in told


def test_a_prompt_that_does_as_well_is_called_enough(verified: VerifiedRun) -> None:
    contestants, against = verified.card.contestants, verified.card.against
    level = {
        "contestants": {**contestants, "described": contestants["adapter"]},
        "against": {**against, "described": Estimate(value=0, low=-0.2, high=0.2, n=10)},
    }
    equal = made(verified.model_copy(update={"card": verified.card.model_copy(update=level)}))
    (line,) = [line for line in equal.verdicts[0].rivals if "description" in line]
    assert line.startswith("not clearly better than the base with the description as its prompt: 70% of its answers")
    assert line.endswith("; that is enough, no training is needed")
    assert plain(line) in markdown_page(equal, ())


def test_code_has_its_place(report: Report, verified: VerifiedRun, tmp_path: Path) -> None:
    half = rate(12, 24)
    code = CodeMeasures(parses=rate(24, 24), runs=half, chrf=half)
    changes = {"code": dict.fromkeys(("base", "described", "few-shot", "adapter", "data"), code)}
    path = tmp_path / "a.jsonl"
    path.write_text(json.dumps({"prompt": "Tell me about a drum.", "answer": "print('drum')"}))
    imported = read_imported(path, "Claude", [row.prompt for row in verified.record.heldout])
    seen = made(verified.model_copy(update={"card": verified.card.model_copy(update=changes)}), imported=imported)
    for text in (Page(html_page(seen, ())).text, markdown_page(seen, ())):
        assert "Code runs" in text
        assert "100%" in text
    assert "Code runs" not in markdown_page(report, ())


def test_the_same_report_is_the_same_bytes(verified: VerifiedRun) -> None:
    first, second = made(verified), made(verified)
    assert first == second
    assert draw(first) == draw(second)
    assert html_page(first, draw(first)) == html_page(second, draw(second))
    assert markdown_page(first, draw(first)) == markdown_page(second, draw(second))


def test_what_is_missing_leaves_no_empty_headings(tmp_path: Path) -> None:
    well = observed().outputs["adapter"].model_copy(update={"answers": [said(pirate(thing)) for thing in ASKED]})
    silent = observed(
        outputs=observed().outputs | {"adapter": well},
        general=[],
        as_trained_losses=None,
        neutral_losses={"base": [1.0, 1.1], "adapter": [1.0, 1.1]},
    )
    bare = made(load_run(write_run(tmp_path / "dddd", silent, bare=True)))
    drawings = draw(bare)
    page, markdown = Page(html_page(bare, drawings)), markdown_page(bare, drawings)
    assert not page.empty_headings()
    assert [one.name for one in drawings] == ["style", "loss"]
    for text in (page.text, markdown):
        assert not re.search("Loss curves|Cost of training|General questions|Loss added by serving", text)
        assert "Nothing that was measured is clearly worse" in text
    headings = re.findall(r"^(#+) .*\n+(?=(#+) |\Z)", markdown, re.MULTILINE)
    assert all(len(below) > len(above) for above, below in headings)


def test_no_topics_leave_no_column(tmp_path: Path) -> None:
    vague = [row.model_copy(update={"topic": None}) for row in observed().heldout]
    report = made(load_run(write_run(tmp_path / "eeee", observed(heldout=vague))))
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
    report = made(verified, imported=read_imported(path, odd, [row.prompt for row in verified.record.heldout]))
    style = draw(report)[0]
    ElementTree.fromstring(style.file)
    assert "$x_1$ &lt;b&gt; &amp; \ufffd 日本" in style.svg
