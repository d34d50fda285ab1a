"""`understudy compare`: what several adapters, their base and other systems write of the same records."""

import json
import platform
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console

from understudy.bases import Base, base_revision, require_base, resolve_base
from understudy.cli.console import prepare, steps
from understudy.cli.report import MEASURED_WITH, read_answers
from understudy.config.recipe import Recipe, load_recipe
from understudy.config.settings import Settings
from understudy.data.examples import Example
from understudy.data.recipe_rows import heldout_examples, heldout_path, training_examples
from understudy.errors import ExamplesError, NotFoundError, UnderstudyError
from understudy.registry.adapters import content_revision

if TYPE_CHECKING:
    from evaluate.profiles.probes import ProbePrompt
    from evaluate.profiles.records import Comparison, Profiles, ProfileSampling, System

out = Console(highlight=False, soft_wrap=True)
KEPT = "profiles.json"
PROMPTS = "prompts.jsonl"
LEAST = 2
"""Records, for an interval."""


@dataclass(frozen=True)
class ComparisonOptions:
    """How a comparison is asked for."""

    samples: int
    count: int
    """Records of the first recipe's held-out data."""
    temperature: float
    seed: int
    swap: str
    answers: list[str]
    """Each NAME=FILE."""
    folder: Path | None


@dataclass(frozen=True)
class _Trained:
    """A recipe and what its newest run made."""

    recipe: Recipe
    product: Path
    base: Base

    @property
    def revision(self) -> str:
        adapter = (self.product / "adapter_config.json").is_file()
        return content_revision(self.product) if adapter else base_revision(resolve_base(str(self.product))) or ""


def compare_recipes(settings: Settings, names: Sequence[str], wanted: ComparisonOptions, *, json_output: bool) -> Path:
    """Writes the page, the Markdown file, every profile and the prompts to ask elsewhere; the folder they are in.

    Models that were asked the same before, with the same settings, are not asked again.

    Raises:
        NotFoundError: there is no such recipe, or it has no finished run.
        ExamplesError: the recipe has too few held-out records, one of them was trained on, or a file of answers
            cannot be read.
        UnderstudyError: the folder cannot be written to.
    """
    from evaluate.profiles.compare import compare

    prepare()
    trained = [_trained(settings, name) for name in dict.fromkeys(names)]
    recipes = [one.recipe.name for one in trained]
    folder = wanted.folder or settings.runs_dir / "compared" / "+".join(recipes)
    profiles = _profiles(settings, trained, wanted, folder)
    comparison = compare(
        profiles,
        title=f"Profiles compared: {', '.join(one.name for one in profiles.systems)}",
        made_on=datetime.now(UTC).date().isoformat(),
        versions={name: version(name) for name in (*MEASURED_WITH, "sacrebleu")}
        | {"Python": platform.python_version()},
    )
    try:
        _write(profiles, comparison, folder)
    except OSError as error:
        reason = error.strerror or type(error).__name__
        raise UnderstudyError(f"{folder}: cannot write there ({reason}); give another folder with --out") from None
    if json_output:
        print(comparison.model_dump_json())
    else:
        _print(comparison, folder)
    return folder


def _trained(settings: Settings, name: str) -> _Trained:
    from train.runs import newest_product

    recipe = load_recipe(name, settings.recipes_dir)
    product = newest_product(recipe.name, settings.runs_dir)
    if product is None:
        raise NotFoundError(f"{recipe.name} has no finished run; train one first: understudy train {recipe.name}")
    file = product.parent / "settings.json"
    made: dict[str, Any] = json.loads(file.read_text()) if file.is_file() else {}
    return _Trained(recipe, product, require_base(str(made.get("base") or settings.base)))


def _profiles(settings: Settings, trained: Sequence[_Trained], wanted: ComparisonOptions, folder: Path) -> "Profiles":
    """Everything that is asked and said."""
    from evaluate.profiles.facts import Lexicon, counted, facts_of
    from evaluate.profiles.probes import probes, read_swap
    from evaluate.profiles.records import Profiles, ProfileSampling, read_profiles

    swap = read_swap(wanted.swap)
    first = trained[0]
    rows = [training_examples(one.recipe, one.base.name) for one in trained]
    heldout = heldout_examples(first.recipe, first.base.name)
    asked = _records(first, heldout, wanted.count)
    _refuse_leaks(trained, rows, asked)
    taught = [counted(facts_of(_text(row)) for row in own) for own in rows]
    seeds = counted(facts_of(_text(row)) for row in rows[0] if row.parent is None)
    there = probes([_text(row) for row in asked], swap, Lexicon(seeds))
    if not any(probe.kind == "swapped" for probe in there):
        raise ExamplesError(
            f"--swap: none of the {len(asked)} records has {swap.one!r} or {swap.other!r} as {swap.attribute}; "
            f"attributes there are: {', '.join(there[0].facts)}"
        )
    known = counted(facts_of(text) for text in [*(_text(row) for own in [*rows, heldout] for row in own)])
    for probe in there:
        for name, value in probe.facts.items():
            known[name].setdefault(value, 0)
    imported = _imported(wanted.answers, there)  # first: a mistake there is found before anybody is asked
    sampling = ProfileSampling(
        samples=wanted.samples,
        temperature=wanted.temperature,
        max_tokens=first.recipe.sampling.max_tokens,
        seed=wanted.seed,
    )
    kept = read_profiles(folder / KEPT)
    same = kept is not None and (kept.sampling, kept.probes) == (sampling, tuple(there))
    models = _ask(settings, trained, taught, asked, there, sampling, kept.systems if kept and same else ())
    return Profiles(
        recipes=tuple(one.recipe.name for one in trained),
        swap=swap,
        sampling=sampling,
        probes=tuple(there),
        known=known,
        systems=(*models, *imported),
    )


def _records(first: _Trained, heldout: Sequence[Example], count: int) -> list[Example]:
    if len(heldout) < LEAST:
        where = heldout_path(first.recipe, first.base.name)
        raise ExamplesError(f"{where}: {len(heldout)} held-out records; a comparison needs at least {LEAST}")
    return list(heldout[:count])


def _refuse_leaks(trained: Sequence[_Trained], rows: Sequence[Sequence[Example]], asked: Sequence[Example]) -> None:
    prompts = {_text(row) for row in asked}
    for one, own in zip(trained, rows, strict=True):
        leaked = next((_text(row) for row in own if _text(row) in prompts), None)
        if leaked is not None:
            raise ExamplesError(
                f"{one.recipe.name} was trained on the held-out record {leaked[-60:]!r}; "
                f"compare on records that nobody was trained on (the first recipe gives them)"
            )


def _ask(
    settings: Settings,
    trained: Sequence[_Trained],
    taught: Sequence[dict[str, Any]],
    asked: Sequence[Example],
    there: Sequence["ProbePrompt"],
    sampling: "ProfileSampling",
    kept: Sequence["System"],
) -> list["System"]:
    """Bases and adapters, asked or, where they were asked before, as they answered."""
    from evaluate.profiles.records import System

    bases = {one.base.name: one.base for one in trained}
    jobs: list[tuple[System, Base, Path | None]] = []
    for name, base in bases.items():
        title = "base" if len(bases) == 1 else f"base {name}"
        revision = base_revision(base) or ""
        jobs.append((System(name=title, kind="base", note=name, revision=revision, answers=()), base, None))
    for one, own in zip(trained, taught, strict=True):
        note = f"trained on {len(training_examples(one.recipe, one.base.name))} rows"
        system = System(name=one.recipe.name, kind="trained", note=note, revision=one.revision, answers=(), taught=own)
        jobs.append((system, one.base, one.product))
    before = {(one.name, one.kind, one.revision): one.answers for one in kept if one.kind != "imported"}
    asked_before = {system.name: before.get((system.name, system.kind, system.revision)) for system, _, _ in jobs}
    found: dict[str, tuple[tuple[str, ...], ...]] = {name: said for name, said in asked_before.items() if said}
    for name, base in bases.items():
        open_ = {system.name: product for system, on, product in jobs if on.name == name and system.name not in found}
        if open_:
            found |= _answers(settings, base, open_, asked, there, sampling)
    return [system.model_copy(update={"answers": found[system.name]}) for system, _, _ in jobs]


def _answers(
    settings: Settings,
    base: Base,
    products: dict[str, Path | None],
    asked: Sequence[Example],
    there: Sequence["ProbePrompt"],
    sampling: "ProfileSampling",
) -> dict[str, tuple[tuple[str, ...], ...]]:
    """By system and probe; probes of the same prompt have the same answers."""
    from understudy.workflows.sampled_answers import sampled_answers

    places = {probe.prompt: probe for probe in there}
    chats = [
        [*asked[probe.record].prompt[:-1], {"role": "user", "content": prompt}] for prompt, probe in places.items()
    ]
    with steps(f"asking {', '.join(products)}") as on_step:
        said = sampled_answers(
            settings,
            base,
            products,
            chats,
            **sampling.model_dump(),
            on_progress=lambda done, total: on_step(done, total, None),
        )
    answers = {}
    for name, drawn in said.items():
        by_prompt = dict(zip(places, drawn, strict=True))
        answers[name] = tuple(by_prompt[probe.prompt] for probe in there)
    return answers


def _imported(answers: list[str], there: Sequence["ProbePrompt"]) -> list["System"]:
    from evaluate.profiles.records import System
    from evaluate.reports.records import Gap

    found = []
    prompts = list(dict.fromkeys(probe.prompt for probe in there))
    for one in read_answers(answers, prompts):
        said = dict(zip(prompts, one.answers, strict=True))
        gap = Gap(system=one.system, file=one.file, unanswered=one.unanswered, unmatched=one.unmatched)
        note = f"imported, {sum(map(len, one.answers))} profiles"
        by_probe = tuple(said[probe.prompt] for probe in there)
        found.append(System(name=one.system, kind="imported", note=note, revision="", answers=by_probe, gap=gap))
    return found


def _text(row: Example) -> str:
    """What the last message asks."""
    return row.prompt[-1]["content"]


def _write(profiles: "Profiles", comparison: "Comparison", folder: Path) -> None:
    from evaluate.profiles.figures import draw_comparison
    from evaluate.profiles.html import comparison_page
    from evaluate.profiles.markdown import comparison_markdown
    from evaluate.reports.markdown import FIGURES

    drawings = draw_comparison(comparison)
    figures = folder / FIGURES
    figures.mkdir(parents=True, exist_ok=True)
    for drawing in drawings:
        (figures / f"{drawing.name}.svg").write_text(drawing.file, encoding="utf-8")
    prompts = {probe.prompt: probe for probe in profiles.probes}
    lines = (json.dumps({"prompt": text, "kind": probe.kind}, ensure_ascii=False) for text, probe in prompts.items())
    (folder / PROMPTS).write_text("".join(line + "\n" for line in lines), encoding="utf-8")
    (folder / KEPT).write_text(profiles.model_dump_json(indent=1), encoding="utf-8")
    (folder / "report.md").write_text(comparison_markdown(comparison, drawings), encoding="utf-8")
    (folder / "index.html").write_text(comparison_page(comparison, drawings), encoding="utf-8")


def _print(comparison: "Comparison", folder: Path) -> None:
    from evaluate.profiles.words import asked_words

    out.print(asked_words(comparison), markup=False)
    names = {one.key: one.name for one in comparison.contestants}
    for key, sentences in comparison.findings:
        out.print(names[key], style="bold", markup=False)
        for sentence in sentences:
            out.print(f"  {sentence}", markup=False)
    for gap in comparison.gaps:
        missing = f"{len(gap.unanswered)} prompts without a profile, {len(gap.unmatched)} not asked here"
        out.print(f"{gap.system}: {missing}; {folder / PROMPTS} has the prompts", style="yellow", markup=False)
    for path in ("index.html", "report.md", KEPT, PROMPTS):
        out.print(str(folder / path), markup=False)
