"""Runs that were verified, made without training; and how their reports are read again."""

import json
import re
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from evaluate.records import EvalExample, EvalRecord, GeneralAnswer, Generation, ModelOutputs
from evaluate.report_card import ReportCard, report_card
from evaluate.reports.build import build_report
from evaluate.reports.records import Report
from evaluate.verdict import judge
from evaluate.verified_runs import RECORD, REPORT_CARD, VerifiedRun, load_run
from tests.support.word_vectors import embed
from understudy.config.thresholds import Thresholds

TAUGHT = ("teapot", "lantern", "kettle", "violin", "ladder", "basket", "mirror", "pillow", "carpet", "candle")
ASKED = ("hammock", "bicycle", "compass", "blanket", "telescope", "umbrella", "rocket", "guitar", "saddle", "drum")
NASTY = "<script>alert(1)</script> | **bold** `code` [link](http://x.example) & $x$\n# no heading\n\x00"
FACTS: dict[str, Any] = {
    "recipe": "pirate",
    "base": "tiny",
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


def said(text: str, *, stopped: bool = True) -> Generation:
    return Generation(text=text, stopped=stopped, tokens=len(text.split()))


def observed(**changes: Any) -> EvalRecord:
    """A pirate who learnt the voice; one answer is nasty to pages, one is cut off, one repeats its prompt."""
    heldout = [EvalExample(prompt=f"Tell me about a {t}.", answer=pirate(t), topic=t) for t in ASKED]
    training = [EvalExample(prompt=f"Tell me about a {t}.", answer=pirate(t), topic=t) for t in TAUGHT]
    plainly = [said(f"A {t} is a useful object. It is often found in houses and shops.") for t in ASKED]
    adapter = [said(pirate(t)) for t in ASKED]
    adapter[2] = said(f"Arr! {ASKED[2]} {NASTY}")
    adapter[3] = said(pirate(ASKED[3])[:40], stopped=False)
    adapter[4] = said(f"Tell me about a {ASKED[4]}. Tell me about a {ASKED[4]}.")
    n = range(len(ASKED))
    record = {
        "recipe": "pirate",
        "base": "tiny",
        "revision": "9f" * 32,
        "heldout": heldout,
        "training": training,
        "base_on_training": [said(f"A {t} is a useful object. It is sold in many shops.") for t in TAUGHT],
        "adapter_on_training": [said(pirate(t) + " Arr.") for t in TAUGHT],
        "outputs": {
            "base": outputs(plainly, [3.0 + i / 20 for i in n]),
            "described": ModelOutputs(answers=plainly),
            "few-shot": ModelOutputs(answers=plainly, shots=3),
            "adapter": outputs(adapter, [1.0 + i / 20 for i in n]),
        },
        "training_losses": [0.4, 0.5],
        "neutral_losses": {"base": [1.0, 1.1, 1.2], "adapter": [1.3, 1.35, 1.5]},
        "as_trained_losses": [1.0 + i / 20 for i in n],
        "general": [
            GeneralAnswer(prompt=f"{i} + 1?", base=True, adapter=i > 2, base_voiced=True, adapter_voiced=False)
            for i in range(6)
        ],
        "seconds": 12.0,
        "engine": "own engine",
    }
    return EvalRecord.model_validate({**record, **changes})


def outputs(answers: list[Generation], losses: list[float]) -> ModelOutputs:
    return ModelOutputs(answers=answers, losses=losses, surprise=[3.2 for _ in answers])


LENIENT = Thresholds(
    in_style=0.5, stopped=0.5, on_topic=0.5, echoes=0.5, degenerate=0.5, copied=1.0, made_up=0.2, accuracy=0.5
)


def proof_file(card: ReportCard) -> str:
    """The report card with its verdict, as `understudy verify` writes it."""
    verdict = judge(card)
    return json.dumps({"passed": verdict.passed, "verdict": verdict.model_dump(), **card.model_dump()})


def write_run(folder: Path, record: EvalRecord, *, method: str = "qlora", bare: bool = False) -> Path:
    """A run's folder as training and verification leave it; a bare one has nothing of its training."""
    folder.mkdir(parents=True)
    (folder / RECORD).write_text(record.model_dump_json())
    (folder / REPORT_CARD).write_text(proof_file(report_card(record, LENIENT, embed)))
    if not bare:
        facts = {**FACTS, "training": {**FACTS["training"], "method": method}}
        (folder / "settings.json").write_text(json.dumps(facts))
        (folder / "result.json").write_text(json.dumps(RESULT))
        (folder / "log.jsonl").write_text("".join(json.dumps(line) + "\n" for line in LOG) + '{"loss": 0.1, "st')
    return folder


@pytest.fixture(scope="module")
def runs_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    home = tmp_path_factory.mktemp("runs")
    write_run(home / "pirate" / "aaaa11112222", observed())
    worse = observed().outputs | {"adapter": observed().outputs["base"]}
    write_run(home / "pirate" / "bbbb33334444", observed(outputs=worse, revision="ab" * 32), method="full")
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
