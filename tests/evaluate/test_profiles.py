"""Comparisons of profiles as a whole: the page, and the command that asks for it."""

import hashlib
import json
import random
import re
from contextlib import AbstractAsyncContextManager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from evaluate.profiles.compare import compare
from evaluate.profiles.facts import counted, facts_of
from evaluate.profiles.markdown import comparison_markdown, draw_comparison
from evaluate.profiles.probes import probes
from evaluate.profiles.records import Comparison, Profiles, ProfileSampling, System, read_profiles
from evaluate.reports.markdown import plain
from serve.engine.adapter_engine import BASE_NAME
from tests.support.adapters import make_adapter, tensors
from tests.support.command_line import Done
from tests.support.people import LEXICON, PEOPLE, SWAP, asked, careless, told
from tests.support.pirate import understudy
from tests.support.verified_runs import NASTY, tables
from understudy.bases import TINY_DIR, Base, base_revision, resolve_base
from understudy.config.settings import Settings
from understudy.errors import ExamplesError, MeasurementError
from understudy.registry.adapters import content_revision
from understudy.workflows.evaluation import sampled_answers

# The whole


def collected(**changes: Any) -> Profiles:
    """A careful system, a careless one with hostile words, one that was imported and gave one profile each."""
    there = probes([asked(one) for one in PEOPLE[:6]], SWAP, LEXICON)
    rng = random.Random(1)
    taught = counted(PEOPLE)
    careful = tuple((told(one.facts),) * 3 for one in there)
    loose = tuple(tuple(careless({**PEOPLE[one.record], **one.facts}, rng) + NASTY for _ in range(3)) for one in there)
    single = tuple((told(one.facts),) if one.kind == "record" else () for one in there)
    systems = (
        System(name="base", kind="base", note="tiny", revision="1", answers=loose),
        System(
            name="people <1>", kind="trained", note="trained on 12 rows", revision="2", answers=careful, taught=taught
        ),
        System(name="template", kind="imported", note="imported, 6 profiles", revision="", answers=single),
    )
    profiles = Profiles(
        recipes=("people",),
        swap=SWAP,
        sampling=ProfileSampling(samples=3, temperature=0.7, max_tokens=64, seed=0),
        probes=tuple(there),
        known=taught,
        systems=systems,
    )
    return profiles.model_copy(update=changes)


def made(profiles: Profiles) -> Comparison:
    return compare(profiles, title="Compared <1>", made_on="2026-11-21", versions={"understudy": "1"})


@pytest.fixture(scope="module")
def comparison() -> Comparison:
    return made(collected())


def test_everybody_is_measured_on_the_same_records(comparison: Comparison) -> None:
    base, careful, template = comparison.contestants
    assert [one.asked for one in comparison.contestants] == [6, 6, 6]
    faithful = careful.figures["faithful"]
    assert faithful is not None
    assert (faithful.value, faithful.n) == (1, 6)
    assert base.figures["faithful"] is not None
    assert base.figures["faithful"].value < 0.5
    assert template.figures["same_facts"] is None
    assert template.figures["made_up"] is None
    assert comparison.swaps[2].effect is None
    assert not any(row.found for row in comparison.swaps)
    assert [table.attribute for table in comparison.inventions] == ["role", "place", "pronoun"]


def test_the_page_is_whole_and_takes_nothing_for_markup(comparison: Comparison) -> None:
    drawings = draw_comparison(comparison)
    assert [one.name for one in drawings] == ["faithful", "same-facts", "made-up", "swap"]
    markdown = comparison_markdown(comparison, drawings)
    assert markdown.startswith("# Compared &lt;1&gt;\n")
    assert "<script" not in markdown
    assert plain(NASTY.strip("\x00")).split("<br>")[0] in markdown
    assert "What these figures cannot say" in markdown
    assert "two samples of each are needed" in markdown
    assert "| people &lt;1&gt;, pronoun swapped |" in markdown
    assert all(plain(measure.how) in markdown for measure in comparison.measures)
    for lines in tables(markdown):
        assert len({line.replace(r"\|", "").count("|") for line in lines}) == 1, lines[0]


def test_the_same_profiles_give_the_same_bytes(comparison: Comparison) -> None:
    again = made(Profiles.model_validate_json(collected().model_dump_json()))
    assert again == comparison
    drawings = draw_comparison(comparison)
    assert draw_comparison(again) == drawings
    assert comparison_markdown(again, drawings) == comparison_markdown(comparison, drawings)


def test_nothing_said_is_no_comparison() -> None:
    with pytest.raises(MeasurementError, match="no profiles to compare"):
        made(collected(systems=()))


@pytest.mark.parametrize("text", ["{", "[]", '{"recipes": ["a"]}'])
def test_broken_profiles_are_named_with_a_remedy(tmp_path: Path, text: str) -> None:
    (tmp_path / "profiles.json").write_text(text)
    with pytest.raises(ExamplesError, match=r"profiles.json: .*; remove it, and the models are asked again"):
        read_profiles(tmp_path / "profiles.json")


# The command


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Recipes on people with an adapter made of random numbers each, one without records, one without a run."""
    place = tmp_path_factory.mktemp("home")
    recipe = "title: People\nvoice: Plain.\nprompts: [Hello]\nsampling: {max_tokens: 16}\n"
    rows = [json.dumps({"prompt": asked(one), "completion": told(one)}) for one in PEOPLE]
    odd = [json.dumps({"prompt": f"Say {n}.", "completion": f"Number {n}."}) for n in range(12)]
    halves = {"people": (rows[:9], rows[9:]), "leaky": (rows[3:], rows[:3]), "odd": (odd[:9], odd[9:])}
    for name, (examples, heldout) in {**halves, "untrained": halves["people"]}.items():
        folder = place / "recipes" / name
        folder.mkdir(parents=True)
        (folder / "recipe.yaml").write_text(recipe)
        (folder / "examples.jsonl").write_text("\n".join(examples))
        (folder / "heldout.jsonl").write_text("\n".join(heldout))
        if name != "untrained":
            made_here = place / "runs" / name / "aaaa11112222"
            make_adapter(made_here / "adapter")
            (made_here / "settings.json").write_text('{"base": "tiny"}')
            (made_here / "result.json").write_text("{}")
    return place


@dataclass
class ScratchEngines:
    """Stands for every `ScratchEngine`: what a model says follows from its weights, the chat and the sampling."""

    started: list[str] = field(default_factory=list)
    """Their bases."""
    ranks: list[int] = field(default_factory=list)
    """Highest that they take."""
    seeds: list[int] = field(default_factory=list)
    """Of all requests."""

    def __call__(self, settings: Settings, base: Base) -> "AbstractAsyncContextManager[OneEngine]":
        self.started.append(base.name)
        self.ranks.append(settings.max_lora_rank)
        return nullcontext(OneEngine(self, {BASE_NAME: base_revision(base) or ""}))


@dataclass
class OneEngine:
    made_by: ScratchEngines
    revisions: dict[str, str]

    async def load(self, adapter: Path, name: str) -> None:
        self.revisions[name] = content_revision(adapter)

    async def post(self, path: str, body: dict[str, Any]) -> dict[str, Any]:
        assert path == "/v1/chat/completions"
        self.made_by.seeds.append(body["seed"])
        drawn = (self.revisions[body["model"]], body["messages"], body["seed"], body["temperature"], body["max_tokens"])
        said = f"Ada is {hashlib.sha256(repr(drawn).encode()).hexdigest()[:8]}."
        choice = {"finish_reason": "stop", "token_ids": [5, 0], "message": {"content": said}}
        return {"choices": [choice]}


@pytest.fixture
def engines(monkeypatch: pytest.MonkeyPatch) -> ScratchEngines:
    stand_in = ScratchEngines()
    monkeypatch.setattr(sampled_answers, "ScratchEngine", stand_in)
    return stand_in


def command(home: Path, *arguments: str) -> Done:
    return understudy(home, "compare", *arguments)


def test_the_command_asks_once_and_takes_in_other_systems_later(
    home: Path, tmp_path: Path, engines: ScratchEngines
) -> None:
    out = tmp_path / "out"
    first = command(home, "people", "--count", "2", "--samples", "2", "--out", str(out))
    assert first.returncode == 0, first.stderr
    assert engines.started == ["tiny"], "one engine for the base and its adapters"
    assert "2 held-out records, 2 samples" in first.stdout
    asked_of = [json.loads(line)["prompt"] for line in (out / "prompts.jsonl").read_text().splitlines()]
    assert len(asked_of) == len(set(asked_of)) == 10
    before = Profiles.model_validate_json((out / "profiles.json").read_text())
    assert [(one.name, one.kind) for one in before.systems] == [("base", "base"), ("people", "trained")]
    assert all(len(said) == 2 for one in before.systems for said in one.answers)
    answers = tmp_path / "template.jsonl"
    rows = [{"prompt": text, "answer": told(facts_of(text)), "sample": k} for text in asked_of[:-1] for k in (1, 2)]
    answers.write_text("\n".join(map(json.dumps, rows)))
    options = ("--count", "2", "--samples", "2", "--out", str(out), "--answers", f"template={answers}")
    second = command(home, "people", *options)
    assert second.returncode == 0, second.stderr
    assert "asking" not in second.stderr
    assert engines.started == ["tiny"]
    assert "template: 1 prompts without a profile" in second.stdout
    after = Profiles.model_validate_json((out / "profiles.json").read_text())
    assert after.systems[:2] == before.systems
    assert after.systems[2].name == "template"
    figures = json.loads(command(home, "people", *options, "--json").stdout)
    template = figures["contestants"][2]["figures"]
    assert template["faithful"]["value"] == template["same_facts"]["value"] == 1
    assert "template" in (out / "report.md").read_text()
    third = command(home, "people", *options, "--seed", "1")
    assert "asking" in third.stderr
    assert engines.started == ["tiny", "tiny"]


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["nobody"], "no recipe 'nobody'"),
        (["people", "untrained"], "untrained has no finished run; train one first: understudy train untrained"),
        (
            ["people", "leaky"],
            "leaky was trained on the held-out record .*compare on records that nobody was trained on",
        ),
        (["odd"], "no record in the prompt 'Say 9.'; a comparison needs prompts with lines such as `name: Ada`"),
        (["people", "--swap", "she/he"], "--swap: found 'she/he'; write ATTRIBUTE=ONE/OTHER"),
        (
            ["people", "--swap", "town=A/B"],
            "none of the 3 records has 'A' or 'B' as town; attributes there are: name, role",
        ),
        (["people", "--answers", "x.jsonl"], "--answers: found 'x.jsonl'; write NAME=FILE"),
        (["people", "--answers", "x=nowhere.jsonl"], "nowhere.jsonl"),
    ],
)
def test_what_cannot_be_compared_is_refused_in_one_line_before_anybody_is_asked(
    home: Path, engines: ScratchEngines, arguments: list[str], says: str
) -> None:
    done = command(home, *arguments, "--count", "3", "--samples", "1")
    assert done.returncode == 1
    assert engines.started == []
    (line,) = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    assert re.search(says, line), line


CHATS = [[{"role": "user", "content": text}] for text in ("Tell me about tea.", "What is a boat?")]
Drawn = dict[str, list[tuple[str, ...]]]


def draw(
    settings: Settings, products: dict[str, Path | None], seed: int = 0, temperature: float = 1.0
) -> tuple[Drawn, list[tuple[int, int]]]:
    """Three samples of each chat, and the progress that was told."""
    told: list[tuple[int, int]] = []
    said = sampled_answers.sampled_answers(
        settings,
        resolve_base("tiny"),
        products,
        CHATS,
        samples=3,
        temperature=temperature,
        max_tokens=12,
        seed=seed,
        on_progress=lambda done, total: told.append((done, total)),
    )
    return said, told


def test_samples_are_drawn_with_seeds_of_their_own_and_a_whole_model_is_asked_as_a_base_is(
    settings: Settings, engines: ScratchEngines, tmp_path: Path
) -> None:
    adapter = make_adapter(tmp_path / "adapter", tensors(rank=128), r=128)
    products: dict[str, Path | None] = {"base": None, "whole": TINY_DIR, "people": adapter}
    first, told = draw(settings, products)
    assert told == [(n, 18) for n in range(2, 19, 2)]
    assert {name: [len(said) for said in drawn] for name, drawn in first.items()} == {name: [3, 3] for name in products}
    assert first["base"] == first["whole"] != first["people"]
    assert len({text for said in first["base"] for text in said}) == 6
    assert sorted(engines.seeds) == sorted([*range(6)] * 3), "one for each sample of each chat, the same for all models"
    assert (engines.started, engines.ranks) == (["tiny", "tiny"], [128, 64])
    assert draw(settings, products)[0] == first
    engines.seeds.clear()
    assert draw(settings, products, seed=1)[0] != first
    assert not set(engines.seeds) & set(range(6))


@pytest.mark.slow
@pytest.mark.engine
@pytest.mark.long
def test_a_real_engine_draws_the_same_samples_of_a_base_and_of_that_base_as_a_whole_model(settings: Settings) -> None:
    products: dict[str, Path | None] = {"base": None, "whole": TINY_DIR}
    first, _ = draw(settings, products, temperature=2.0)  # tiny is so sure that it seldom says two things at less
    assert [len(said) for said in first["base"]] == [3, 3]
    assert len(set(first["base"][0])) > 1
    assert first["base"] == first["whole"]
