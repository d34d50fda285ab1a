"""Which planted failures `understudy verify` refuses, for which reason, and whether it passes what is sound.

    python -m bench.training.planted_failures email-copy --other stand-up

Trains a sound adapter of the recipe, breaks it in known ways, and evaluates each on one engine. What was evaluated is
not evaluated again. Writes docs/results/planted-failures.json and prints the table of docs/training.md.
"""

import argparse
import asyncio
import json
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from bench.machine import RESULTS, describe
from bench.training.plants import Bench, Plant
from evaluate.collect import Task, collect_outputs, drawn
from evaluate.metrics.embeddings import encoder
from evaluate.records import EvalRecord, Generation, RivalOutputs
from evaluate.report_card import ReportCard, report_card
from evaluate.served_model import ServedModel
from evaluate.verdict import judge
from serve.engine.adapter_engine import BASE_NAME
from serve.engine.scratch_engine import ScratchEngine
from understudy.bases import base_revision, resolve_base
from understudy.cli.console import prepare
from understudy.config.recipe import load_recipe
from understudy.config.settings import PROJECT, load_settings
from understudy.config.thresholds import Thresholds
from understudy.data.recipe_rows import heldout_examples
from understudy.errors import EngineError
from understudy.workflows.evaluation.verify import questions_for

FILE = RESULTS / "planted-failures.json"
FLOORS = ("acts", "in_style", "stopped", "on_topic", "accuracy", "general")
CEILINGS = ("surprise", "made_up", "echoes", "degenerate", "copied", "memorised", "forgetting")


async def evaluate(bench: Bench, plants: Iterable[Plant], on_found: Callable[[str, dict[str, Any]], None]) -> None:
    """Evaluates each on one engine; the base and its rivals are asked once."""
    task = Task(
        recipe=bench.recipe.name,
        base=bench.base.name,
        base_revision=base_revision(bench.base) or "",
        voice=bench.recipe.voice,
        heldout=drawn(heldout_examples(bench.recipe, bench.base.name), 0),
        training=drawn(bench.rows, 0),
        questions=questions_for(bench.base),
        max_tokens=bench.recipe.sampling.max_tokens,
        rows=len(bench.rows),
    )
    made = [(plant, plant.make()) for plant in plants]
    known: RivalOutputs | None = None
    async with ScratchEngine(bench.settings, bench.base) as engine:
        base, records = ServedModel(BASE_NAME, engine.post), dict[Path, EvalRecord]()
        for plant, folder in made:
            if folder not in records:
                try:
                    name = f"planted-{len(records)}"
                    await engine.load(folder.resolve(), name)
                except EngineError as error:
                    on_found(plant.name, {"expected": sorted(plant.expected), "codes": ["validate"], "why": str(error)})
                    continue
                model = ServedModel(name, engine.post)
                records[folder], known = await collect_outputs(
                    base, model, task, lambda done, total: None, revision=name, known=known
                )
            record = records[folder]
            if plant.spoil:
                record = await _spoilt(base, record, plant.spoil(record), task, stopped=plant.stopped)
            on_found(plant.name, _judged(plant, record))


async def _spoilt(base: ServedModel, record: EvalRecord, texts: list[str], task: Task, *, stopped: bool) -> EvalRecord:
    """The record with these answers, and the base's surprise at them."""
    rows = [
        (await base.tokens(e.prompt), await base.text_tokens(text)) for e, text in zip(task.heldout, texts, strict=True)
    ]
    answers = [
        Generation(text=text, stopped=stopped, tokens=len(ids), ids=tuple(ids))
        for text, (_, ids) in zip(texts, rows, strict=True)
    ]
    spoilt = record.outputs["adapter"].model_copy(update={"answers": answers, "surprise": await base.losses(rows)})
    return record.model_copy(update={"outputs": {**record.outputs, "adapter": spoilt}})


def _judged(plant: Plant, record: EvalRecord) -> dict[str, Any]:
    card = report_card(record, Thresholds(), encoder())
    said, base = record.outputs["adapter"], record.outputs["base"].losses
    excess = [nats - own for nats, own in zip(said.surprise, base, strict=True) if nats is not None]
    return {
        "expected": sorted(plant.expected),
        "codes": list(judge(card).codes),
        "figures": figures(card),
        "excess_by_answer": [round(value, 3) for value in excess],
        "accuracy_by_answer": [round(value, 3) for value in card.contestants["adapter"].accuracy.rows],
    }


def figures(card: ReportCard) -> dict[str, float | None]:
    """By threshold: what it is compared with."""
    mine = card.contestants["adapter"]
    found = {
        "in_style": mine.in_style,
        "stopped": mine.stopped,
        "on_topic": mine.on_topic,
        "surprise": mine.fluency.excess,
        "made_up": mine.fluency.made_up,
        "accuracy": mine.accuracy.meaning,
        "details": mine.accuracy.details,
        "copied": card.copied,
        "echoes": mine.echoes,
        "degenerate": mine.degenerate,
        "forgetting": card.forgetting,
        "general": card.general.adapter if card.general else None,
        "memorised": card.memorised,
        "acts": card.acts,
        "sound": mine.sound,
    }
    return {name: None if one is None else round(one.value, 4) for name, one in found.items()}


def refused(run: dict[str, Any], thresholds: Thresholds) -> list[str]:
    """Why these thresholds refuse what was measured; `details` and what has no threshold as it was said then."""
    if "figures" not in run:
        return list(run["codes"])
    found, told = run["figures"], [code for code in run["codes"] if code not in {*FLOORS, *CEILINGS}]
    low = [name for name in FLOORS if found.get(name) is not None and found[name] < getattr(thresholds, name)]
    high = [name for name in CEILINGS if found.get(name) is not None and found[name] > getattr(thresholds, name)]
    return [*low, *high, *told]


def auc(sound: Sequence[float], broken: Sequence[float]) -> float:
    """Area under the ROC curve: how often a broken answer has more than a sound one; ties count half."""
    more = np.subtract.outer(np.asarray(broken), np.asarray(sound))
    return float((more > 0).mean() + (more == 0).mean() / 2)


def table(runs: dict[str, dict[str, Any]], recipe: str) -> str:
    """Planted, expected, found; and for noise how well a single answer's figures tell it from a sound one."""
    lines = [
        "| planted | refused because of | surprise | made up | accuracy | details | ROC of surprise / accuracy |",
        "|---|---|---|---|---|---|---|",
    ]
    sound = runs[f"{recipe}: sound"]
    for key, run in runs.items():
        if not key.startswith(f"{recipe}: "):
            continue
        f = run.get("figures", {})
        roc = "–"
        if run.get("excess_by_answer"):
            first = auc(sound["excess_by_answer"], run["excess_by_answer"])
            second = 1 - auc(sound["accuracy_by_answer"], run["accuracy_by_answer"])
            roc = f"{first:.2f} / {second:.2f}"
        cells = (
            key.removeprefix(f"{recipe}: "),
            ", ".join(refused(run, Thresholds())) or "passed",
            _cell(f.get("surprise"), "{:+.2f}"),
            _cell(f.get("made_up"), "{:.1%}"),
            _cell(f.get("accuracy"), "{:.0%}"),
            _cell(f.get("details"), "{:.0%}"),
            roc,
        )
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def _cell(value: float | None, form: str) -> str:
    return "–" if value is None else form.format(value)


def codes(run: dict[str, Any]) -> set[str]:
    """Why the default thresholds refuse it."""
    return {*refused(run, Thresholds())}


def wrong(runs: dict[str, dict[str, Any]]) -> list[str]:
    """Plants that were not refused, or not for a right reason; sound ones that were refused."""
    return [
        name
        for name, run in runs.items()
        if (codes(run) if not run["expected"] else not {*run["expected"], "validate"} & codes(run))
    ]


def known() -> dict[str, Any]:
    """What was found before."""
    return json.loads(FILE.read_text()) if FILE.is_file() else {"machine": {}, "runs": {}}


def main() -> None:
    """Evaluates what is missing, and prints the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("recipe")
    parser.add_argument("--other", required=True, help="recipe of another persona")
    parser.add_argument("--base", default="smollm2")
    parser.add_argument("--only", nargs="+", help="plants whose names begin so")
    arguments = parser.parse_args()
    prepare(trains=True)
    recipes = PROJECT / "recipes"
    settings = load_settings()
    bench = Bench(
        load_recipe(arguments.recipe, recipes),
        load_recipe(arguments.other, recipes),
        resolve_base(arguments.base),
        settings.home / "planted",
        settings,
    )
    there = known()["runs"]
    plants = [
        plant
        for plant in bench.plants()
        if f"{arguments.recipe}: {plant.name}" not in there
        and (not arguments.only or plant.name.startswith(tuple(arguments.only)))
    ]

    def found(name: str, run: dict[str, Any]) -> None:
        kept = known()
        kept = {"machine": describe(), "runs": {**kept["runs"], f"{arguments.recipe}: {name}": run}}
        FILE.write_text(json.dumps(kept, indent=1) + "\n")
        print(f"{name}: {', '.join(run['codes']) or 'passed'}", flush=True)

    asyncio.run(evaluate(bench, plants, found))
    print(table(known()["runs"], arguments.recipe))


if __name__ == "__main__":
    main()
