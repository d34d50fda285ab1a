"""Which planted failures `understudy verify` refuses, for which reason, and whether it passes what is sound.

    python -m bench.training.planted_failures email-copy --other stand-up

Trains a sound adapter of the recipe, breaks it in known ways, and evaluates each on one engine. What was evaluated is
not evaluated again. Writes docs/results/planted-failures.json and prints the table of docs/training.md.
"""

import argparse
import asyncio
import json
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from bench.machine import RESULTS, save
from bench.training.planted_table import figures, table
from bench.training.plants import Bench, Plant
from evaluate.collect import Task, collect_outputs, drawn
from evaluate.metrics.embeddings import encoder
from evaluate.records import EvalRecord, Generation, RivalOutputs
from evaluate.report_card import report_card
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


async def evaluate(bench: Bench, plants: Iterable[Plant], on_found: Callable[[str, dict[str, Any]], None]) -> None:
    """Evaluates each on one engine; the base and its rivals are asked once."""
    training, rest = drawn(bench.rows)
    task = Task(
        recipe=bench.recipe.name,
        base=bench.base.name,
        base_revision=base_revision(bench.base) or "",
        voice=bench.recipe.voice,
        heldout=drawn(heldout_examples(bench.recipe, bench.base.name))[0],
        training=training,
        rest=rest,
        questions=questions_for(bench.base),
        max_tokens=bench.recipe.sampling.max_tokens,
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
        runs = {**kept["runs"], f"{arguments.recipe}: {name}": run}
        save("planted-failures", {"runs": runs}, earlier=kept if kept["runs"] else None)
        print(f"{name}: {', '.join(run['codes']) or 'passed'}", flush=True)

    asyncio.run(evaluate(bench, plants, found))
    print(table(known()["runs"], arguments.recipe))


if __name__ == "__main__":
    main()
