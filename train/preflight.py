"""Checks a recipe before anything is trained: `understudy train` stops at the first failed check, `understudy check`
shows them all.
"""

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from peft import get_peft_model
from pydantic import BaseModel, ConfigDict
from transformers import PreTrainedTokenizerBase

from train.hyperparameters import settled
from train.memory import check_memory
from train.model.load import load_model, load_tokenizer, lora_config, quiet, stop_tokens
from train.model.loss_mask import IGNORED, TokenRow, check_stop_trained
from train.model.plain_text import check_plain_text
from train.model.targets import check_targets
from train.model.tokenize import TrainingRow, check_lengths, token_rows, training_rows
from understudy.bases import Base, adapter_pin, context_length
from understudy.config.recipe import Recipe
from understudy.config.training import Training
from understudy.data.contamination import measure_overlap
from understudy.data.messages import Example
from understudy.data.recipe_rows import (
    heldout_examples,
    heldout_path,
    source_split,
    training_examples,
    training_path,
)
from understudy.errors import TrainingError, UnderstudyError
from understudy.registry.adapters import CONFIG


class PreflightCheck(BaseModel):
    """One question of the preflight and its answer."""

    model_config = ConfigDict(frozen=True)

    question: str
    passed: bool
    detail: str


class TokenSpan(BaseModel):
    """Neighbouring tokens of a row that all carry loss, or all do not."""

    model_config = ConfigDict(frozen=True)

    text: str
    trained: bool


class Preflight:
    """A recipe's rows as the model sees them, and every check that needs no engine; computed once, when it is made."""

    tokenizer: PreTrainedTokenizerBase
    training: Training
    """The settings, with a number in place of every `auto`."""
    chats: list[TrainingRow]
    rows: list[TokenRow]
    """The same rows in tokens; empty when the chat template failed."""
    checks: list[PreflightCheck]
    """In order. When the chat template fails, those that need tokens are left out."""

    def __init__(
        self,
        recipe: Recipe,
        base: Base,
        training: Training,
        *,
        examples: Sequence[Example] | None = None,
        processes: int = 1,
    ) -> None:
        """Read data and tokenizer, and run the checks.

        Args:
            examples: the recipe's training rows, if they have been read already.
            processes: how many processes train together on this machine.

        Raises:
            ExamplesError, BaseModelError: the data or the base cannot be used.
        """
        quiet()
        self.recipe, self.base, self.processes = recipe, base, processes
        self.examples = training_examples(recipe, base.name) if examples is None else examples
        self.heldout = heldout_examples(recipe, base.name)
        self.training = settled(training, base, len(self.examples))
        self.tokenizer = load_tokenizer(base)
        self.chats = training_rows(self.examples)
        self.rows = []
        self.checks = self._run_checks()

    def require_passed(self) -> None:
        """Raise TrainingError with the detail of the first failed check, if there is one."""
        failed = next((check for check in self.checks if not check.passed), None)
        if failed:
            raise TrainingError(failed.detail)

    def pieces(self, row: int) -> list[TokenSpan]:
        """Return a row as the model sees it, in pieces with and without loss."""
        tokens, pieces = self.rows[row], []
        start = 0
        for end in range(1, len(tokens.input_ids) + 1):
            if end == len(tokens.input_ids) or _trained(tokens, end) != _trained(tokens, start):
                text = str(self.tokenizer.decode(tokens.input_ids[start:end]))
                pieces.append(TokenSpan(text=text, trained=_trained(tokens, start)))
                start = end
        return pieces

    def prompts(self, count: int) -> list[tuple[list[dict[str, Any]], list[int]]]:
        """Return `count` prompts as chats, each with the tokens that training puts before the answer."""
        step = max(1, len(self.rows) // count)
        chosen = list(zip(self.chats, self.rows, strict=True))[::step][:count]
        return [(chat.prompt, row.input_ids[: row.labels.count(IGNORED)]) for chat, row in chosen]

    def planned_adapter(self, folder: Path) -> Path:
        """Write the adapter that training will start from: its shape is final, its weights are initial."""
        if self.training.method == "full":
            raise TrainingError("method full makes no adapter; there is nothing to load")
        model = get_peft_model(load_model(self.base, self.training), lora_config(self.training))  # pyright: ignore
        model.save_pretrained(str(folder))
        path = folder / CONFIG
        names = {"base_model_name_or_path": self.base.public_name, "revision": adapter_pin(self.base)}
        path.write_text(json.dumps({**json.loads(path.read_text()), **names}))
        return folder

    def _run_checks(self) -> list[PreflightCheck]:
        template = _checked("the chat template writes prompts as they will be served", self._template)
        leaks = _checked("no held-out row stands in the examples", self._leaks)
        plain = _checked("no text holds the base's control tokens", self._plain_text)
        targets = _checked("the base has the modules that get an adapter", self._targets)
        if not template.passed:
            return [template, plain, targets, leaks]
        return [
            template,
            plain,
            targets,
            _checked("every row fits into max_length and the base's context", self._lengths),
            _checked("the end of turn carries loss, prompts do not", self._mask),
            _checked("there is enough memory", self._memory),
            leaks,
        ]

    def _template(self) -> str:
        self.rows = token_rows(self.chats, self.tokenizer)
        split = source_split(self.recipe, self.base.name)
        unused = f"; columns that are not used: {', '.join(split.ignored)}" if split and split.ignored else ""
        return f"{len(self.rows)} rows of {len(self.examples)} examples{unused}"

    def _plain_text(self) -> str:
        name = self.base.name
        check_plain_text(self.heldout, self.tokenizer, heldout_path(self.recipe, name))
        return check_plain_text(self.examples, self.tokenizer, training_path(self.recipe, name))

    def _targets(self) -> str:
        return check_targets(self.base, self.training)

    def _lengths(self) -> str:
        context = context_length(self.base)
        source = training_path(self.recipe, self.base.name)
        check_lengths(self.rows, self.training.max_length, source, context=context)
        longest = sorted(self.rows, key=lambda row: -len(row.input_ids))[:3]
        names = ", ".join(f"example {row.origin}: {len(row.input_ids)}" for row in longest)
        reads = f", the base reads {context}" if context else ""
        return f"longest in tokens: {names}; max_length {self.training.max_length}{reads}"

    def _mask(self) -> str:
        check_stop_trained([row.labels for row in self.rows], stop_tokens(self.tokenizer, self.base))
        trained = sum(label != IGNORED for row in self.rows for label in row.labels)
        return f"{trained:,} of {sum(len(row.labels) for row in self.rows):,} tokens carry loss"

    def _memory(self) -> str:
        longest = max(len(row.input_ids) for row in self.rows)
        needed = check_memory(self.base, self.training, longest, processes=self.processes)
        return f"about {needed}" if needed else "not known: the base is not on this machine yet"

    def _leaks(self) -> str:
        return check_leaks(self.examples, self.heldout, heldout_path(self.recipe, self.base.name))


def check_leaks(examples: Sequence[Example], heldout: Sequence[Example], source: Path) -> str:
    """Refuse held-out rows whose prompt is also trained on; return how similar the others are, in words.

    Raises:
        TrainingError: naming the rows.
    """
    if not heldout:
        return "there are no held-out rows; without them nothing can be proved"
    overlap = measure_overlap(examples, heldout, [str(n) for n in range(1, len(heldout) + 1)])
    if overlap.exact + overlap.normalised:
        raise TrainingError(
            f"{source}: {overlap.exact + overlap.normalised} of {overlap.rows} held-out prompts are training prompts, "
            f"too (rows {', '.join(overlap.origins)}); take them out of one of the two files, or scores will flatter"
        )
    return f"none of {overlap.rows} prompts; half of the words of {overlap.contained} rows stand in the examples"


def _checked(question: str, answer: Callable[[], str]) -> PreflightCheck:
    try:
        return PreflightCheck(question=question, passed=True, detail=answer())
    except UnderstudyError as error:
        return PreflightCheck(question=question, passed=False, detail=str(error))


def _trained(row: TokenRow, place: int) -> bool:
    return row.labels[place] != IGNORED
