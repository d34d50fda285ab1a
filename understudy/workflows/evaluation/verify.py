"""`understudy verify`: collects the outputs of an adapter, its base and its rivals, measures them and decides."""

import asyncio
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from evaluate.collect import OnProgress, Task, collect_outputs, drawn
from evaluate.general_questions import QUESTIONS, GeneralQuestion
from evaluate.metrics.embeddings import encoder
from evaluate.records import EvalRecord, Helpfulness, RivalOutputs
from evaluate.report_card import ReportCard, report_card
from evaluate.tiny_questions import tiny_questions
from evaluate.verdict import Verdict, judge
from understudy.bases import Base, base_revision, require_base, resolve_base
from understudy.config.recipe import Recipe
from understudy.config.settings import Settings
from understudy.config.training import Training
from understudy.data.messages import Example, fingerprint
from understudy.data.recipe_rows import heldout_examples, heldout_path, training_examples, training_path
from understudy.errors import ExamplesError, NotFoundError
from understudy.registry.adapters import content_revision, short
from understudy.workflows.evaluation.engine import Say, Where, evaluation_models
from understudy.workflows.evaluation.proof_files import evaluation_folder, write_proof, write_record, write_whole

MIN_ROWS = 2
"""Fewest held-out rows that can be measured."""
PARITY_ROWS = 8
"""Held-out rows on which transformers compute the loss over the quantised base."""
RIVALS = "rivals-"
"""Start of the name of the file with the outputs of the base and its rivals, beside the runs of a recipe."""
SETTINGS = "training.json"
"""The file that `understudy train` leaves in the adapter's folder."""

Ask = Callable[[EvalRecord], Helpfulness | None]
"""Returns how helpful the adapter's answers are; None where neither a judge nor votes tell."""


@dataclass(frozen=True)
class Verified:
    """An evaluated adapter."""

    record: EvalRecord
    card: ReportCard
    verdict: Verdict
    folder: Path
    """Where `record.json` and `proof.json` (report card and verdict) are."""


def verify(
    settings: Settings,
    recipe: Recipe,
    adapter: Path | None,
    *,
    choose_base: Callable[[], Base],
    where: Where = "auto",
    helpfulness: Ask = lambda _: None,
    say: Say = lambda _: None,
    on_progress: OnProgress = lambda done, known: None,
) -> Verified:
    """Evaluates an adapter of a recipe, by default the one trained last, and writes record and report card.

    The files go into the run's folder; for an adapter that is not a run of this recipe, into a folder of their own
    beside the runs. `choose_base` is called where the adapter's folder does not say which base it was trained on.

    Raises:
        NotFoundError: there is no adapter.
        ExamplesError: there are too few held-out rows, or the examples are not those that it was trained on.
        TrainingError: a held-out prompt is a training prompt, too.
        EngineError, GatewayError: no engine answers.
    """
    folder = adapter or _newest(recipe, settings)
    made = made_with(folder)
    base = require_base(made["base"]) if "base" in made else choose_base()
    heldout = heldout_for(recipe, base)
    training = Training.model_validate(made["training"]) if "training" in made else recipe.training
    rows = training_examples(recipe, base.name)
    check_unseen(recipe, base, made, rows, heldout)
    asked, rest = drawn([one for one in rows if not one.tools])
    task = Task(
        recipe=recipe.name,
        base=base.name,
        base_revision=base_revision(base) or "",
        voice=recipe.voice,
        heldout=drawn(heldout)[0],
        training=asked,
        rest=[*rest, *(one for one in rows if one.tools)],
        questions=questions_for(base),
        max_tokens=recipe.sampling.max_tokens,
    )
    record = asyncio.run(_collected(settings, base, folder, training, task, where, say, on_progress))
    place = _place(settings, recipe, folder, made, record.revision)
    write_record(place, record)  # now: the answers stay, whatever fails below
    say("comparing with the base as it was trained on")
    record = record.model_copy(update={"as_trained_losses": as_trained_losses(base, folder, training, task.heldout)})
    write_record(place, record)
    say("asking how helpful it is")
    record = record.model_copy(update={"helpfulness": helpfulness(record)})
    write_record(place, record)
    say("measuring")
    card = report_card(record, recipe.proof, encoder())
    write_proof(place, card, heldout)
    return Verified(record, card, judge(card), place)


def heldout_for(recipe: Recipe, base: Base) -> list[Example]:
    """The held-out rows that an evaluation asks.

    Raises:
        ExamplesError: there are too few, or one has tools, which an evaluation would leave out.
    """
    heldout, path = heldout_examples(recipe, base.name), heldout_path(recipe, base.name)
    if len(heldout) < MIN_ROWS:
        raise ExamplesError(f"{path}: verify needs at least {MIN_ROWS} held-out rows, better twenty")
    with_tools = next((number for number, one in enumerate(heldout, 1) if one.tools), 0)
    if with_tools:
        raise ExamplesError(
            f"{path}: row {with_tools} has tools, and verify asks without tools; keep such rows for training"
        )
    return heldout


def check_unseen(
    recipe: Recipe, base: Base, made: Mapping[str, Any], rows: Sequence[Example], heldout: Sequence[Example]
) -> None:
    """Checks that an adapter of this recipe has seen none of the held-out rows; `made` is its `training.json`.

    Held-out rows may have been written since. Another recipe's adapter was not trained on these examples anyway.

    Raises:
        ExamplesError: the examples are not those that it was trained on.
        TrainingError: a held-out prompt is a training prompt, too.
    """
    from train.preflight import check_leaks

    known = made.get("examples_sha256")
    if known and made.get("recipe") == recipe.name and known != fingerprint(list(rows)):
        raise ExamplesError(
            f"{training_path(recipe, base.name)}: these {len(rows)} examples are not the {made.get('rows', '?')} that "
            "the adapter was trained on, so it may have seen held-out rows; train again, put back the examples of "
            "then, or name another adapter with --adapter"
        )
    check_leaks(rows, heldout, heldout_path(recipe, base.name))


async def _collected(
    settings: Settings,
    base: Base,
    product: Path,
    training: Training,
    task: Task,
    where: Where,
    say: Say,
    on_progress: OnProgress,
) -> EvalRecord:
    full = training.method == "full"
    revision = base_revision(resolve_base(str(product))) or "" if full else content_revision(product)
    kept = settings.runs_dir / task.recipe / f"{RIVALS}{short(task.key)}.json"
    known = _rivals(kept, task)
    if known:
        say("the base's answers are kept from before")
    models = evaluation_models(
        settings, base, product, task.recipe, full=full, rank=training.rank, where=where, say=say
    )
    async with models as there:
        record, rivals = await collect_outputs(
            there.base,
            there.adapter,
            task,
            on_progress,
            revision=revision,
            known=known,
            method=training.method,
            engine=there.engine,
        )
    if known is None:
        kept.parent.mkdir(parents=True, exist_ok=True)
        kept.write_text(rivals.model_dump_json(), encoding="utf-8")
    return record


def _rivals(kept: Path, task: Task) -> RivalOutputs | None:
    """Returns the outputs of base and rivals for this very task, if they are kept."""
    try:
        found = RivalOutputs.model_validate_json(kept.read_bytes())
    except (OSError, ValidationError):
        return None
    return found if found.key == task.key else None


def questions_for(base: Base) -> Sequence[GeneralQuestion]:
    """Returns general questions for a base: common knowledge, or for `tiny` what it was taught."""
    if not base.tiny:
        return QUESTIONS
    return tiny_questions()


def as_trained_losses(base: Base, adapter: Path, training: Training, heldout: Sequence[Example]) -> list[float] | None:
    """Returns the adapter's losses on the first held-out rows over the base as training quantised it.

    None where training did not quantise it. Only here transformers compute: no engine serves that base.
    """
    if training.method not in ("qlora", "lora-8bit"):
        return None
    from train.model.tokenize import TrainingRow, token_rows
    from train.scoring import Scorer

    scorer = Scorer(base, adapter, as_trained=training)
    rows = [
        TrainingRow(example.prompt, [example.messages[-1].chat()], number)
        for number, example in enumerate(heldout[:PARITY_ROWS], 1)
    ]
    return scorer.losses(token_rows(rows, scorer.tokenizer))


def made_with(folder: Path) -> dict[str, Any]:
    """Returns what `understudy train` wrote into an adapter's folder; empty for somebody else's adapter."""
    try:
        return json.loads((folder / SETTINGS).read_text())
    except (OSError, json.JSONDecodeError):
        return {}


def _newest(recipe: Recipe, settings: Settings) -> Path:
    from train.runs import newest_product

    folder = newest_product(recipe.name, settings.runs_dir)
    if folder is None:
        raise NotFoundError(f"{recipe.name} has no finished run; train one first: understudy train {recipe.name}")
    return folder


def _place(settings: Settings, recipe: Recipe, product: Path, made: dict[str, Any], revision: str) -> Path:
    """Returns the folder of the evaluation; a new one gets the settings of the training, if they are known."""
    place = evaluation_folder(settings.runs_dir / recipe.name, product, revision)
    if place == product.parent:
        return place
    place.mkdir(parents=True, exist_ok=True)
    if made:
        write_whole(place / "settings.json", made)
    return place
