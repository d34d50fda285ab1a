"""Preflight of a whole recipe, before anything is trained: `understudy check RECIPE`. It fails closed."""

import json
from collections.abc import Callable, Sequence
from pathlib import Path

from peft import get_peft_model
from pydantic import BaseModel, ConfigDict
from transformers import PreTrainedTokenizerBase

from train.hyperparameters import settled
from train.memory import MemoryEstimate, check_memory
from train.model.load import load_model, load_tokenizer, lora_config, quiet, stop_tokens
from train.model.tokenize import (
    IGNORED,
    TokenRow,
    TrainingRow,
    check_lengths,
    check_stop_trained,
    token_rows,
    training_rows,
)
from understudy.bases import Base, adapter_pin
from understudy.config.recipe import Recipe
from understudy.config.training import Training
from understudy.data.contamination import measure_overlap
from understudy.data.examples import Example
from understudy.data.recipe_rows import heldout_examples, heldout_path, training_examples, training_path
from understudy.errors import TrainingError, UnderstudyError
from understudy.registry.adapters import CONFIG


class PreflightCheck(BaseModel):
    """One question of the preflight and its answer."""

    model_config = ConfigDict(frozen=True)

    question: str
    passed: bool
    detail: str


class TokenSpan(BaseModel):
    """Tokens in a row that are alike: text, and whether it carries loss."""

    model_config = ConfigDict(frozen=True)

    text: str
    trained: bool


class Preflight:
    """The recipe in tokens, and the questions asked about it."""

    def __init__(self, recipe: Recipe, base: Base, training: Training) -> None:
        """Reads data and tokenizer. Raises ExamplesError, BaseModelError."""
        quiet()
        self.recipe, self.base = recipe, base
        self.examples, self.heldout = training_examples(recipe, base.name), heldout_examples(recipe, base.name)
        self.training = settled(training, base, len(self.examples))
        self.tokenizer: PreTrainedTokenizerBase = load_tokenizer(base)
        self.chats: list[TrainingRow] = training_rows(self.examples)
        self.rows: list[TokenRow] = []
        """Filled by the first finding."""

    def findings(self) -> list[PreflightCheck]:
        """All questions that need no engine, in order; where the template fails, the ones that need tokens are left
        out, and the preflight has failed."""
        found = [_asked("the chat template writes prompts as they will be served", self._template)]
        if found[0].passed:
            found += [
                _asked("every row fits into max_length", self._lengths),
                _asked("the end of turn carries loss, prompts do not", self._mask),
                _asked("there is enough memory", self._memory),
            ]
        found.append(_asked("no held-out row stands in the examples", self._leaks))
        return found

    def pieces(self, row: int) -> list[TokenSpan]:
        """A row as the model sees it, in pieces with and without loss."""
        tokens, pieces = self.rows[row], []
        start = 0
        for end in range(1, len(tokens.input_ids) + 1):
            if end == len(tokens.input_ids) or _trained(tokens, end) != _trained(tokens, start):
                text = str(self.tokenizer.decode(tokens.input_ids[start:end]))
                pieces.append(TokenSpan(text=text, trained=_trained(tokens, start)))
                start = end
        return pieces

    def prompts(self, count: int) -> list[tuple[list[dict[str, str]], list[int]]]:
        """Some prompts as chats, each with the tokens that training puts before the answer."""
        step = max(1, len(self.rows) // count)
        chosen = list(zip(self.chats, self.rows, strict=True))[::step][:count]
        return [(chat.prompt, row.input_ids[: row.labels.count(IGNORED)]) for chat, row in chosen]

    def planned_adapter(self, folder: Path) -> Path:
        """Writes an adapter as training will make it, its matrices as they are before the first step."""
        if self.training.method == "full":
            raise TrainingError("method full makes no adapter; there is nothing to load")
        model = get_peft_model(load_model(self.base, self.training), lora_config(self.training))  # pyright: ignore
        model.save_pretrained(str(folder))
        path = folder / CONFIG
        names = {"base_model_name_or_path": self.base.public_name, "revision": adapter_pin(self.base)}
        path.write_text(json.dumps({**json.loads(path.read_text()), **names}))
        return folder

    def _template(self) -> str:
        self.rows = token_rows(self.chats, self.tokenizer)
        return f"{len(self.rows)} rows of {len(self.examples)} examples"

    def _lengths(self) -> str:
        check_lengths(self.rows, self.training.max_length, training_path(self.recipe, self.base.name))
        longest = sorted(self.rows, key=lambda row: -len(row.input_ids))[:3]
        names = ", ".join(f"example {row.origin}: {len(row.input_ids)}" for row in longest)
        return f"longest in tokens: {names}; max_length {self.training.max_length}"

    def _mask(self) -> str:
        check_stop_trained([row.labels for row in self.rows], stop_tokens(self.tokenizer, self.base))
        trained = sum(label != IGNORED for row in self.rows for label in row.labels)
        return f"{trained:,} of {sum(len(row.labels) for row in self.rows):,} tokens carry loss"

    def _memory(self) -> str:
        needed: MemoryEstimate | None = check_memory(self.base, self.training, max(len(r.input_ids) for r in self.rows))
        return f"about {needed}" if needed else "not known: the base is not on this machine yet"

    def _leaks(self) -> str:
        return check_leaks(self.examples, self.heldout, heldout_path(self.recipe, self.base.name))


def check_leaks(examples: Sequence[Example], heldout: Sequence[Example], source: Path) -> str:
    """Refuses held-out rows whose prompt is also trained on; says how alike the others are.

    Raises:
        TrainingError: naming the rows.
    """
    if not heldout:
        return "there are no held-out rows; without them nothing can be proved"
    overlap = measure_overlap(examples, heldout, [str(n) for n in range(1, len(heldout) + 1)])
    if overlap.exact + overlap.normalised:
        raise TrainingError(
            f"{source}: {overlap.exact + overlap.normalised} of {overlap.rows} held-out prompts are training prompts, "
            f"too (rows {', '.join(overlap.origins)}); "
            "take them out of one of the two files, or scores will flatter"
        )
    return f"none of {overlap.rows} prompts; half of the words of {overlap.contained} rows stand in the examples"


def _asked(question: str, answer: Callable[[], str]) -> PreflightCheck:
    try:
        return PreflightCheck(question=question, passed=True, detail=answer())
    except UnderstudyError as error:
        return PreflightCheck(question=question, passed=False, detail=str(error))


def _trained(row: TokenRow, place: int) -> bool:
    return row.labels[place] != IGNORED
