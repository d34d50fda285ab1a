"""Answers of other systems in a report: what fits, what does not, and what is said of either."""

import json
from pathlib import Path

import pytest

from evaluate.reports.build import held_out
from evaluate.reports.figures import draw
from evaluate.reports.html import html_page
from evaluate.reports.imported_answers import clean, read_imported, read_prompts
from evaluate.reports.markdown import markdown_page
from evaluate.verified_runs import VerifiedRun
from tests.support.verified_runs import ASKED, Page, made, pirate, runs_dir, verified
from understudy.errors import ExamplesError

__all__ = ["runs_dir", "verified"]

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
        assert "Imported answers were collected elsewhere" in text
        assert "The figures of Claude rest on 6 of 10 held-out prompts." in text
        assert "A hammock is a thing." in text
    assert not page.empty_headings()
    assert "| Claude (imported, 6 answers) | – | 0%" in markdown, "sense is not measured on text alone"
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
    assert drum.answers["c3"][0].text == pirate("drum")
    assert drum.reference == pirate("drum")
    assert lora.answers["c3"] == ()
    assert lora.reference is None
    assert lora.answers["c4"][0].on_topic
    assert report.contestants[-1].asked == 0
    assert "no answer" in html_page(report, ())
    assert len(held_out(verified.record)) == len(ASKED)


def test_text_that_no_file_can_hold_is_shown_as_such() -> None:
    assert clean("a\x00b\ud83dc\u200dd\n\te\r") == "a\ufffdb\ufffdc\u200dd\n\te\ufffd"
