"""`understudy compare`: what several adapters, their bases and other systems write of the same records."""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from understudy.bases import Base, base_revision, require_base, resolve_base
from understudy.config.recipe import Recipe, load_recipe
from understudy.config.settings import Settings
from understudy.data.messages import Example
from understudy.data.recipe_rows import heldout_examples, heldout_path, training_examples
from understudy.errors import ExamplesError, NotFoundError
from understudy.registry.adapters import content_revision
from understudy.workflows.evaluation.report import MEASURED_WITH, cannot_write, read_answers, versions, write_page

if TYPE_CHECKING:
    from evaluate.profiles.probes import ProbePrompt, Swap
    from evaluate.profiles.records import Comparison, Profiles, ProfileSampling, System

PROFILES = "profiles.json"
PROMPTS = "prompts.jsonl"
MIN_RECORDS = 2
"""Fewest held-out records; an interval needs two."""

OnProgress = Callable[[int, int], None]
"""Called with the answers done and wanted."""


@dataclass(frozen=True)
class ComparisonOptions:
    """What a comparison asks, and of whom."""

    samples: int
    """Answers to each prompt."""
    count: int
    """Records of the first recipe's held-out data."""
    temperature: float
    seed: int
    swap: str
    """ATTRIBUTE=ONE/OTHER: values that take each other's place."""
    answers: list[str]
    """Other systems' answers, each NAME=FILE."""
    folder: Path | None
    """Where to write; None: runs/compared/RECIPE+RECIPE."""


@dataclass(frozen=True)
class WrittenComparison:
    """A comparison and the folder that holds `report.md`, its figures, the profiles and the prompts."""

    comparison: "Comparison"
    folder: Path


@dataclass(frozen=True)
class _Trained:
    """A recipe, what its newest run made, and the rows that it learnt."""

    recipe: Recipe
    product: Path
    base: Base
    rows: list[Example]

    @property
    def revision(self) -> str:
        adapter = (self.product / "adapter_config.json").is_file()
        return content_revision(self.product) if adapter else base_revision(resolve_base(str(self.product))) or ""


def compare_profiles(
    settings: Settings,
    names: Sequence[str],
    options: ComparisonOptions,
    *,
    on_progress: OnProgress = lambda done, total: None,
) -> WrittenComparison:
    """Writes the Markdown page, every profile, and the prompts to ask other systems.

    Models that were asked the same before, with the same sampling, are not asked again.

    Raises:
        NotFoundError: there is no such recipe, or it has no finished run.
        ExamplesError: the recipe has too few held-out records, one of them was trained on, or a file of answers
            cannot be read.
        EngineError: an engine does not start, or cannot answer.
        UnderstudyError: the folder cannot be written to.
    """
    from evaluate.profiles.compare import compare

    trained = [_trained(settings, name) for name in dict.fromkeys(names)]
    folder = options.folder or settings.runs_dir / "compared" / "+".join(one.recipe.name for one in trained)
    profiles = _profiles(settings, trained, options, folder, on_progress)
    comparison = compare(
        profiles,
        title=f"Profiles compared: {', '.join(one.name for one in profiles.systems)}",
        made_on=datetime.now(UTC).date().isoformat(),
        versions=versions(*MEASURED_WITH, "sacrebleu"),
    )
    try:
        _write(profiles, comparison, folder)
    except OSError as error:
        raise cannot_write(folder, error) from None
    return WrittenComparison(comparison, folder)


def _trained(settings: Settings, name: str) -> _Trained:
    from train.runs import newest_product

    recipe = load_recipe(name, settings.recipes_dir)
    product = newest_product(recipe.name, settings.runs_dir)
    if product is None:
        raise NotFoundError(f"{recipe.name} has no finished run; train one first: understudy train {recipe.name}")
    file = product.parent / "settings.json"
    made: dict[str, Any] = json.loads(file.read_text()) if file.is_file() else {}
    base = require_base(str(made.get("base") or settings.base))
    return _Trained(recipe, product, base, training_examples(recipe, base.name))


def _profiles(
    settings: Settings,
    trained: Sequence[_Trained],
    options: ComparisonOptions,
    folder: Path,
    on_progress: OnProgress,
) -> "Profiles":
    """Returns everything that is asked and answered. Mistakes in the data are found before any model is asked."""
    from evaluate.profiles.facts import counted, facts_of
    from evaluate.profiles.probes import read_swap
    from evaluate.profiles.records import Profiles, ProfileSampling, read_profiles

    swap = read_swap(options.swap)
    first = trained[0]
    heldout = heldout_examples(first.recipe, first.base.name)
    if len(heldout) < MIN_RECORDS:
        where = heldout_path(first.recipe, first.base.name)
        raise ExamplesError(f"{where}: {len(heldout)} held-out records; a comparison needs at least {MIN_RECORDS}")
    records = list(heldout[: options.count])
    _refuse_leaks(trained, records)
    prompts = _probes(first, records, swap)
    known = counted(facts_of(_question(row)) for rows in (*(one.rows for one in trained), heldout) for row in rows)
    for probe in prompts:
        for name, value in probe.facts.items():
            known[name].setdefault(value, 0)
    imported = _imported(options.answers, prompts)
    sampling = ProfileSampling(
        samples=options.samples,
        temperature=options.temperature,
        max_tokens=first.recipe.sampling.max_tokens,
        seed=options.seed,
    )
    kept = read_profiles(folder / PROFILES)
    same = kept is not None and (kept.sampling, kept.probes) == (sampling, tuple(prompts))
    before = kept.systems if kept and same else ()
    models = _models(settings, trained, records, prompts, sampling, before, on_progress)
    return Profiles(
        recipes=tuple(one.recipe.name for one in trained),
        swap=swap,
        sampling=sampling,
        probes=tuple(prompts),
        known=known,
        systems=(*models, *imported),
    )


def _probes(first: _Trained, records: Sequence[Example], swap: "Swap") -> list["ProbePrompt"]:
    """Returns the prompts made from the records. Raises ExamplesError where the swap changes none of them."""
    from evaluate.profiles.facts import Lexicon, counted, facts_of
    from evaluate.profiles.probes import probes

    seeds = counted(facts_of(_question(row)) for row in first.rows if row.parent is None)
    prompts = probes([_question(row) for row in records], swap, Lexicon(seeds))
    if not any(probe.kind == "swapped" for probe in prompts):
        raise ExamplesError(
            f"--swap: none of the {len(records)} records has {swap.one!r} or {swap.other!r} as {swap.attribute}; "
            f"attributes there are: {', '.join(prompts[0].facts)}"
        )
    return prompts


def _refuse_leaks(trained: Sequence[_Trained], records: Sequence[Example]) -> None:
    """Raises ExamplesError when a recipe was trained on one of the records."""
    prompts = {_question(row) for row in records}
    for one in trained:
        leaked = next((_question(row) for row in one.rows if _question(row) in prompts), None)
        if leaked is not None:
            raise ExamplesError(
                f"{one.recipe.name} was trained on the held-out record {leaked[-60:]!r}; "
                f"compare on records that nobody was trained on (the first recipe gives them)"
            )


def _models(
    settings: Settings,
    trained: Sequence[_Trained],
    records: Sequence[Example],
    prompts: Sequence["ProbePrompt"],
    sampling: "ProfileSampling",
    kept: Sequence["System"],
    on_progress: OnProgress,
) -> list["System"]:
    """Returns bases and adapters with their answers: those they gave before, else asked now."""
    from evaluate.profiles.facts import counted, facts_of
    from evaluate.profiles.records import System

    bases = {one.base.name: one.base for one in trained}
    systems: list[tuple[System, str, Path | None]] = []
    """Each with its base, and with the adapter or model that it is."""
    for name, base in bases.items():
        title = "base" if len(bases) == 1 else f"base {name}"
        revision = base_revision(base) or ""
        systems.append((System(name=title, kind="base", note=name, revision=revision, answers=()), name, None))
    for one in trained:
        note = f"trained on {len(one.rows)} rows"
        taught = counted(facts_of(_question(row)) for row in one.rows)
        system = System(
            name=one.recipe.name, kind="trained", note=note, revision=one.revision, answers=(), taught=taught
        )
        systems.append((system, one.base.name, one.product))
    before = {(one.name, one.kind, one.revision): one.answers for one in kept if one.kind != "imported"}
    answers = {one.name: before.get((one.name, one.kind, one.revision)) for one, _, _ in systems}
    missing = {
        base: {one.name: product for one, on, product in systems if on == base and not answers[one.name]}
        for base in bases
    }
    total, done = sum(map(len, missing.values())), 0
    for name, products in missing.items():
        if products:
            share = _shifted(on_progress, done, len(products), total)
            answers |= _sample(settings, bases[name], products, records, prompts, sampling, share)
            done += len(products)
    return [system.model_copy(update={"answers": answers[system.name]}) for system, _, _ in systems]


def _shifted(on_progress: OnProgress, before: int, here: int, total: int) -> OnProgress:
    """Turns the progress of `here` systems, with `before` of `total` done, into progress of all."""
    return lambda done, wanted: on_progress(before * wanted // here + done, total * wanted // here)


def _sample(
    settings: Settings,
    base: Base,
    products: dict[str, Path | None],
    records: Sequence[Example],
    prompts: Sequence["ProbePrompt"],
    sampling: "ProfileSampling",
    on_progress: OnProgress,
) -> dict[str, tuple[tuple[str, ...], ...]]:
    """Asks the models; returns answers by system and probe. Probes of the same prompt have the same answers."""
    from understudy.workflows.evaluation.sampled_answers import sampled_answers

    by_text = {probe.prompt: probe for probe in prompts}
    chats = [[*records[probe.record].prompt[:-1], {"role": "user", "content": text}] for text, probe in by_text.items()]
    drawn = sampled_answers(
        settings,
        base,
        products,
        chats,
        samples=sampling.samples,
        temperature=sampling.temperature,
        max_tokens=sampling.max_tokens,
        seed=sampling.seed,
        on_progress=on_progress,
    )
    answers = {}
    for name, texts in drawn.items():
        answered = dict(zip(by_text, texts, strict=True))
        answers[name] = tuple(answered[probe.prompt] for probe in prompts)
    return answers


def _imported(answers: Sequence[str], prompts: Sequence["ProbePrompt"]) -> list["System"]:
    from evaluate.profiles.records import System
    from evaluate.reports.records import Gap

    found = []
    texts = list(dict.fromkeys(probe.prompt for probe in prompts))
    for one in read_answers(answers, texts):
        answered = dict(zip(texts, one.answers, strict=True))
        gap = Gap(system=one.system, file=one.file, unanswered=one.unanswered, unmatched=one.unmatched)
        note = f"imported, {sum(map(len, one.answers))} profiles"
        by_probe = tuple(answered[probe.prompt] for probe in prompts)
        found.append(System(name=one.system, kind="imported", note=note, revision="", answers=by_probe, gap=gap))
    return found


def _question(row: Example) -> str:
    """Returns what the last message asks."""
    return row.prompt[-1]["content"]


def _write(profiles: "Profiles", comparison: "Comparison", folder: Path) -> None:
    from evaluate.profiles.markdown import comparison_markdown, draw_comparison

    drawings = draw_comparison(comparison)
    write_page(folder, comparison_markdown(comparison, drawings), drawings)
    kinds = {probe.prompt: probe.kind for probe in profiles.probes}
    lines = (json.dumps({"prompt": text, "kind": kind}, ensure_ascii=False) for text, kind in kinds.items())
    (folder / PROMPTS).write_text("".join(line + "\n" for line in lines), encoding="utf-8")
    (folder / PROFILES).write_text(profiles.model_dump_json(indent=1), encoding="utf-8")
