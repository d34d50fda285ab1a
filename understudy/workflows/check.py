"""Find every reason not to train a recipe yet, from its data, its tokens, and an engine: `understudy check`."""

import asyncio
import tempfile
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from understudy.bases import Base
from understudy.config.recipe import load_recipe
from understudy.config.settings import Settings
from understudy.config.validation import overridden
from understudy.errors import UnderstudyError
from understudy.workflows.choose_base import choose_base

if TYPE_CHECKING:
    from train.preflight import Preflight, PreflightCheck, TokenSpan

PROMPTS_ASKED = 8
"""Prompts that are compared with the engine's tokens."""


@dataclass(frozen=True)
class CheckedRecipe:
    """The answers of a preflight."""

    rows: "list[list[TokenSpan]]"
    """The first rows as the model sees them."""
    findings: "list[PreflightCheck]"
    engine_asked: bool

    @property
    def passed(self) -> bool:
        return all(finding.passed for finding in self.findings)


def check_recipe(
    settings: Settings,
    name: str,
    base: str | None,
    changes: dict[str, Any],
    *,
    rows: int,
    engine: bool,
    say: Callable[[str], None],
    report: Callable[[str], None],
) -> CheckedRecipe:
    """Answer every question that must have a good answer before training.

    Args:
        changes: settings of training that replace the recipe's; None leaves the recipe's.
        rows: how many rows to return with their loss mask.
        engine: start an engine and ask it, too, if everything else passes.
        say: gets what is being done.
        report: gets the reason if another base than the recipe's is used.

    Raises:
        ConfigError, ExamplesError, BaseModelError: the recipe, its rows or the base cannot be read.
    """
    recipe = load_recipe(name, settings.recipes_dir)
    chosen = choose_base(settings, recipe, base, report=report)
    training = overridden(recipe.training, changes)
    say("loading libraries")
    from train.preflight import Preflight

    preflight = Preflight(recipe, chosen, training)
    findings = preflight.checks
    asks = engine and all(finding.passed for finding in findings)
    if asks:
        say("starting an engine of its own")
        findings = [*findings, *asyncio.run(_ask_engine(settings, chosen, preflight, say))]
    shown = [preflight.pieces(number) for number in range(min(rows, len(preflight.rows)))]
    return CheckedRecipe(rows=shown, findings=findings, engine_asked=asks)


async def _ask_engine(
    settings: Settings, base: Base, preflight: "Preflight", say: Callable[[str], None]
) -> "list[PreflightCheck]":
    """Compare the engine's prompts with training's, and load an adapter like the planned one."""
    from serve.engine.scratch_engine import ScratchEngine
    from serve.engine.servable import check_servable
    from serve.engine.vllm import vllm_on_cpu

    same = "the engine sees the prompts that training sees"
    takes = "the engine takes the planned adapter"
    rank = max(settings.max_lora_rank, preflight.training.rank)
    try:
        await asyncio.to_thread(check_servable, base, settings.bases_dir, on_cpu=vllm_on_cpu())
        async with ScratchEngine(settings.model_copy(update={"max_lora_rank": rank}), base) as scratch:
            say("asking the engine")
            decode = preflight.tokenizer.decode
            asked = scratch.same_prompts(preflight.prompts(PROMPTS_ASKED), lambda ids: str(decode(ids)))
            found = [await _answered(same, asked)]
            if preflight.training.method != "full":
                with tempfile.TemporaryDirectory() as folder:
                    planned = await asyncio.to_thread(preflight.planned_adapter, Path(folder))
                    found.append(await _answered(takes, scratch.takes(planned)))
            return found
    except UnderstudyError as error:
        return [_failed(same, error)]


async def _answered(question: str, answer: Coroutine[Any, Any, str]) -> "PreflightCheck":
    from train.preflight import PreflightCheck

    try:
        return PreflightCheck(question=question, passed=True, detail=await answer)
    except UnderstudyError as error:
        return _failed(question, error)


def _failed(question: str, error: UnderstudyError) -> "PreflightCheck":
    from train.preflight import PreflightCheck

    return PreflightCheck(question=question, passed=False, detail=str(error))
