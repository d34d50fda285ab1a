"""Judges of answers: a reward model (never served, as it writes no text), or a function of your own."""

import importlib
import json
from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from peft import LoraConfig, PeftModel
from transformers import AutoModelForSequenceClassification, PreTrainedModel, PreTrainedTokenizerBase

from train.model.load import device, first_line, load_tokenizer, lora, quiet
from train.model.precision import computed_in
from train.preference.dataset import chat
from train.runs import Run
from understudy.bases import Base
from understudy.config.training import Training
from understudy.data.preferences import PreferencePair
from understudy.errors import BaseModelError, TrainingError
from understudy.registry.adapters import CONFIG

Chat = list[dict[str, str]]
Judge = Callable[[Sequence[Chat]], list[float]]
"""Takes whole chats, each ending with the answer, and returns a number for each; higher is better."""

HEAD = "score"
BATCH = 16
"""Chats in a batch."""


class RewardRun(Run):
    """A run that makes a reward model; its product has a name of its own, so that nobody serves it as an adapter."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.product = folder / "reward"


def classifier(base: Base, training: Training) -> PreTrainedModel:
    """Load the base, unquantised, with a head that gives one number. Raises BaseModelError."""
    quiet()
    try:
        return AutoModelForSequenceClassification.from_pretrained(
            base.location, num_labels=1, dtype=computed_in(training), device_map={"": device()}
        )
    except (OSError, ValueError) as error:
        raise BaseModelError(f"base {base.name} cannot be loaded: {first_line(error)}") from error


def reward_config(training: Training) -> LoraConfig:
    """Return a LoRA adapter of the same shape as the persona's, with the head."""
    return lora(training, "SEQ_CLS", saved=[HEAD])


class RewardModel:
    """A trained reward model, ready to judge."""

    def __init__(self, base: Base, adapter: Path, training: Training) -> None:
        """Load base and adapter.

        Raises:
            TrainingError: `adapter` is not a reward model.
            BaseModelError: the base cannot be loaded.
        """
        try:
            task = json.loads((adapter / CONFIG).read_text()).get("task_type")
        except (OSError, json.JSONDecodeError) as error:
            problem = f"{adapter}: no reward model there ({first_line(error)}); train one with --method reward"
            raise TrainingError(problem) from None
        if task != "SEQ_CLS":
            raise TrainingError(f"{adapter}: an adapter for {task}, not a reward model; train one with --method reward")
        self._tokenizer: PreTrainedTokenizerBase = load_tokenizer(base)
        self._tokenizer.pad_token = self._tokenizer.pad_token or self._tokenizer.eos_token
        self._tokenizer.padding_side = "right"
        model = classifier(base, training)
        model.config.pad_token_id = self._tokenizer.pad_token_id
        self._model = PeftModel.from_pretrained(model, str(adapter)).eval()

    def __call__(self, chats: Sequence[Chat]) -> list[float]:
        """Return a score for each chat."""
        scores: list[float] = []
        for start in range(0, len(chats), BATCH):
            rendered = [self._tokens(one) for one in chats[start : start + BATCH]]
            batch = self._tokenizer.pad({"input_ids": rendered}, return_tensors="pt").to(self._model.device)
            with torch.inference_mode():
                scores += self._model(**batch).logits[:, 0].float().tolist()
        return scores

    def _tokens(self, messages: Chat) -> list[int]:
        rendered = self._tokenizer.apply_chat_template(messages, tokenize=True, return_dict=True)
        assert not isinstance(rendered, (str, list))
        return list(rendered["input_ids"])


def own_function(name: str) -> Judge:
    """Return `module:function`, of (prompt, answer) -> float, as a judge. Raises TrainingError if it is not there."""
    module, _, function = name.partition(":")
    try:
        found = getattr(importlib.import_module(module), function)
    except (ImportError, AttributeError) as error:
        raise TrainingError(
            f"reward {name!r}: {first_line(error)}; use module:function, importable from here"
        ) from None

    def judge(chats: Sequence[Chat]) -> list[float]:
        return [float(found(_prompt_of(one), one[-1]["content"])) for one in chats]

    return judge


def judged(judge: Judge, pairs: Sequence[PreferencePair]) -> list[float]:
    """Return, for each pair, the score of the chosen answer minus that of the rejected one."""
    chosen = judge([chat([*pair.prompt, *pair.chosen]) for pair in pairs])
    rejected = judge([chat([*pair.prompt, *pair.rejected]) for pair in pairs])
    return [good - bad for good, bad in zip(chosen, rejected, strict=True)]


def _prompt_of(messages: Chat) -> str:
    return "\n".join(message["content"] for message in messages[:-1])
