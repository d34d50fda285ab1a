"""`understudy check`: what the model will see, and every reason not to train yet."""

import asyncio
import json
import tempfile
from collections.abc import Coroutine
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.text import Text

from understudy.bases import Base
from understudy.cli.base_choice import choose_base
from understudy.cli.console import prepare, status
from understudy.cli.training import changed
from understudy.config.recipe import load_recipe
from understudy.config.settings import Settings
from understudy.errors import UnderstudyError

if TYPE_CHECKING:
    from train.preflight import Preflight, PreflightCheck

out = Console(highlight=False, soft_wrap=True)
ASKED = 8
"""Prompts that the engine is shown."""


def check_recipe(
    settings: Settings,
    name: str,
    base: str | None,
    changes: dict[str, Any],
    *,
    shown: int,
    engine: bool,
    json_output: bool,
) -> bool:
    """Asks every question that must have a good answer before training; whether all have."""
    prepare()
    recipe = load_recipe(name, settings.recipes_dir)
    resolved = choose_base(settings, recipe, base)
    training = changed(recipe.training, changes)
    with status("loading libraries"):
        from train.preflight import Preflight
    preflight = Preflight(recipe, resolved, training)
    findings = preflight.findings()
    if not json_output:
        _print_rows(preflight, shown)
    if engine and all(finding.passed for finding in findings):
        with status("starting an engine of its own") as say:
            findings += asyncio.run(_ask_engine(settings, resolved, preflight, say))
    passed = all(finding.passed for finding in findings)
    if json_output:
        print(json.dumps({"passed": passed, "findings": [finding.model_dump() for finding in findings]}))
        return passed
    for finding in findings:
        mark, style = ("✓", "green") if finding.passed else ("✗", "red")
        out.print(f"{mark} {finding.question}: {finding.detail}", style=style)
    if passed and not engine:
        out.print(
            "not asked: whether the engine sees the same prompts and takes the adapter (--no-engine)", style="yellow"
        )
    return passed


async def _ask_engine(settings: Settings, base: Base, preflight: "Preflight", say: Any) -> list["PreflightCheck"]:
    from serve.engine.scratch_engine import ScratchEngine
    from serve.engine.servable import check_servable
    from serve.engine.vllm import vllm_on_cpu

    same = "the engine sees the prompts that training sees"
    takes = "the engine takes the planned adapter"
    with tempfile.TemporaryDirectory() as folder:
        wanted = settings.model_copy(update={"max_lora_rank": max(settings.max_lora_rank, preflight.training.rank)})
        try:
            await asyncio.to_thread(check_servable, base, settings.bases_dir, on_cpu=vllm_on_cpu())
            async with ScratchEngine(wanted, base) as scratch:
                say("asking the engine")
                decode = preflight.tokenizer.decode
                asked = scratch.same_prompts(preflight.prompts(ASKED), lambda ids: str(decode(ids)))
                found = [await _asked(same, asked)]
                if preflight.training.method != "full":
                    planned = await asyncio.to_thread(preflight.planned_adapter, Path(folder))
                    found.append(await _asked(takes, scratch.takes(planned)))
                return found
        except UnderstudyError as error:
            return [_failed(same, error)]


async def _asked(question: str, answer: Coroutine[Any, Any, str]) -> "PreflightCheck":
    from train.preflight import PreflightCheck

    try:
        return PreflightCheck(question=question, passed=True, detail=await answer)
    except UnderstudyError as error:
        return _failed(question, error)


def _failed(question: str, error: UnderstudyError) -> "PreflightCheck":
    from train.preflight import PreflightCheck

    return PreflightCheck(question=question, passed=False, detail=str(error))


def _print_rows(preflight: "Preflight", count: int) -> None:
    """The first rows as the model sees them: what carries loss in green, the rest dim."""
    for number in range(min(count, len(preflight.rows))):
        text = Text(f"row {number + 1} ", style="bold")
        for piece in preflight.pieces(number):
            text.append(piece.text, style="green" if piece.trained else "dim")
        out.print(text, end="\n\n")
