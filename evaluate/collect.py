"""Asks an adapter, its base and its rivals the same prompts through the engine that serves them."""

import asyncio
import random
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

from evaluate.general_questions import GeneralQuestion
from evaluate.neutral_texts import NEUTRAL_TEXTS
from evaluate.records import EvalExample, EvalRecord, GeneralAnswer, Generation, ModelOutputs
from evaluate.served_model import Answered, Chat, ServedModel
from understudy.examples import Example

T = TypeVar("T")
OnProgress = Callable[[int, int], None]
"""Called with pieces of work done and known so far."""

MOST = 64
"""Held-out rows that are asked, and training rows whose prompts are asked; drawn where there are more."""
FEW_SHOT_LOSSES = 4
"""Rows on which few-shot's loss is taken: vLLM computes the examples anew for each (no prefix cache for losses)."""
GENERAL_TOKENS = 48
"""Longest answer to a general question."""


@dataclass(frozen=True)
class Task:
    """What an adapter is evaluated on."""

    recipe: str
    base: str
    revision: str
    voice: str
    """The persona's description."""
    heldout: Sequence[Example]
    training: Sequence[Example]
    questions: Sequence[GeneralQuestion]
    max_tokens: int
    method: str = ""
    engine: str = ""
    seed: int = 0


@dataclass
class _Progress:
    tell: OnProgress
    done: int = 0
    known: int = 0
    tasks: list[asyncio.Task] = field(default_factory=list)

    async def of(self, pieces: int, work: Awaitable[T]) -> T:
        self.known += pieces
        result = await work
        self.done += pieces
        self.tell(self.done, self.known)
        return result


def drawn(examples: Sequence[Example], seed: int) -> list[Example]:
    """At most `MOST` of the rows, in their order."""
    if len(examples) <= MOST:
        return list(examples)
    return [examples[n] for n in sorted(random.Random(seed).sample(range(len(examples)), MOST))]


async def collect_outputs(base: ServedModel, adapter: ServedModel, task: Task, on_progress: OnProgress) -> EvalRecord:
    """Asks all contestants everything, as much at once as the engine takes.

    `adapter` may be a model of another engine: a full fine-tune has one of its own.

    Raises:
        EngineError: the engine cannot answer.
    """
    started = time.monotonic()
    asking = _Asking(base, adapter, task, _Progress(on_progress))
    async with asyncio.TaskGroup() as group:
        contestants = {
            "base": group.create_task(asking.base_outputs()),
            "described": group.create_task(asking.described_outputs()),
            "few-shot": group.create_task(asking.few_shot_outputs()),
            "adapter": group.create_task(asking.adapter_outputs()),
        }
        base_on_training = group.create_task(asking.on_training(base))
        adapter_on_training = group.create_task(asking.on_training(adapter))
        training_losses = group.create_task(asking.training_losses())
        neutral_base = group.create_task(asking.neutral(base))
        neutral_adapter = group.create_task(asking.neutral(adapter))
        general = group.create_task(asking.general())
    return EvalRecord(
        recipe=task.recipe,
        base=task.base,
        revision=task.revision,
        heldout=_rows(task.heldout),
        training=_rows(task.training),
        base_on_training=base_on_training.result(),
        adapter_on_training=adapter_on_training.result(),
        outputs={name: one.result() for name, one in contestants.items()},
        training_losses=training_losses.result(),
        neutral_losses={"base": neutral_base.result(), "adapter": neutral_adapter.result()},
        as_trained_losses=None,
        general=general.result(),
        seconds=round(time.monotonic() - started, 1),
        method=task.method,
        engine=task.engine,
    )


class _Asking:
    def __init__(self, base: ServedModel, adapter: ServedModel, task: Task, progress: _Progress) -> None:
        self.base, self.adapter, self.task, self._progress = base, adapter, task, progress
        self.prompts = [example.prompt for example in task.heldout]

    async def base_outputs(self) -> ModelOutputs:
        return await self._outputs(self.base, self.prompts, await self._answered())

    async def adapter_outputs(self) -> ModelOutputs:
        return await self._outputs(self.adapter, self.prompts, await self._answered())

    async def described_outputs(self) -> ModelOutputs:
        return await self._outputs(self.base, [described(self.task.voice, prompt) for prompt in self.prompts], [])

    async def few_shot_outputs(self) -> ModelOutputs:
        shots = await self._shots()
        rows = await asyncio.gather(
            *(self._row(with_shots(shots, prompt), answer) for prompt, answer in self._asked()[:FEW_SHOT_LOSSES])
        )
        outputs = await self._outputs(self.base, [with_shots(shots, prompt) for prompt in self.prompts], rows)
        return outputs.model_copy(update={"shots": sum(message["role"] == "user" for message in shots)})

    async def on_training(self, model: ServedModel) -> list[Generation]:
        return await self._answers(model, [example.prompt for example in self.task.training])

    async def training_losses(self) -> list[float]:
        pairs = [(example.prompt, _last(example)) for example in self.task.training]
        rows = await asyncio.gather(*(self._row(prompt, answer) for prompt, answer in pairs))
        return await self._losses(self.adapter, rows)

    async def neutral(self, model: ServedModel) -> list[float]:
        texts = await asyncio.gather(*(self.base.text_tokens(text) for text in NEUTRAL_TEXTS))
        return await self._losses(model, [(tokens[:1], tokens[1:]) for tokens in texts])

    async def general(self) -> list[GeneralAnswer]:
        """Greedy answers to the general questions, with and without the persona's voice asked for."""
        questions = self.task.questions
        plain: list[Chat] = [[{"role": "user", "content": one.prompt}] for one in questions]
        voiced = [described(self.task.voice, chat) for chat in plain]
        found = await asyncio.gather(
            *(
                self._answers(model, chats, max_tokens=GENERAL_TOKENS, greedy=True)
                for model in (self.base, self.adapter)
                for chats in (plain, voiced)
            )
        )
        return [
            GeneralAnswer(
                prompt=one.prompt,
                base=one.right(base.text),
                base_voiced=one.right(base_voiced.text),
                adapter=one.right(adapter.text),
                adapter_voiced=one.right(adapter_voiced.text),
            )
            for one, base, base_voiced, adapter, adapter_voiced in zip(questions, *found, strict=True)
        ]

    async def _outputs(self, model: ServedModel, chats: Sequence[Chat], rows: Sequence[Answered]) -> ModelOutputs:
        answers, losses = await asyncio.gather(self._answers(model, chats), self._losses(model, rows))
        plain = await asyncio.gather(*(self.base.tokens(prompt) for prompt in self.prompts))
        said = [(prompt, list(one.ids)) for prompt, one in zip(plain, answers, strict=True) if one.ids]
        surprise = iter(await self._losses(self.base, said))
        return ModelOutputs(
            answers=answers, losses=losses, surprise=[next(surprise) if one.ids else None for one in answers]
        )

    async def _answers(
        self, model: ServedModel, chats: Sequence[Chat], *, max_tokens: int = 0, greedy: bool = False
    ) -> list[Generation]:
        most, seed = max_tokens or self.task.max_tokens, self.task.seed
        pieces = len(chats)
        return await self._progress.of(pieces, model.answers(chats, max_tokens=most, seed=seed, greedy=greedy))

    async def _losses(self, model: ServedModel, rows: Sequence[Answered]) -> list[float]:
        return await self._progress.of(len(rows), model.losses(rows)) if rows else []

    def _asked(self) -> list[tuple[Chat, dict[str, str]]]:
        return [(example.prompt, _last(example)) for example in self.task.heldout]

    async def _answered(self) -> list[Answered]:
        return await asyncio.gather(*(self._row(prompt, answer) for prompt, answer in self._asked()))

    async def _row(self, prompt: Chat, answer: dict[str, str]) -> Answered:
        asked = await self.base.tokens(prompt)
        whole = await self.base.tokens([*prompt, answer], answered=True)
        return asked, whole[len(asked) :]

    async def _shots(self) -> list[dict[str, str]]:
        """As many training rows, in their order, as fit before the longest prompt and an answer."""
        room = await self.base.context() - self.task.max_tokens
        lengths = await asyncio.gather(*(self.base.tokens(prompt) for prompt in self.prompts))
        longest = max(zip(lengths, self.prompts, strict=True), key=lambda pair: len(pair[0]))[1]
        turns = [[m.model_dump() for m in example.messages if m.role != "system"] for example in self.task.training]
        sizes = await asyncio.gather(*(self.base.tokens(one, answered=True) for one in turns))
        count, used = 0, len(lengths) and max(map(len, lengths))
        while count < len(turns) and used + len(sizes[count]) <= room:
            used, count = used + len(sizes[count]), count + 1
        chosen = [message for one in turns[:count] for message in one]
        while chosen and len(await self.base.tokens(with_shots(chosen, longest))) > room:
            count -= 1
            chosen = [message for one in turns[:count] for message in one]
        return chosen


def described(voice: str, prompt: Chat) -> list[dict[str, str]]:
    """The prompt with the persona's description as its system prompt, before what the row's own one says."""
    own = [message["content"] for message in prompt[:1] if message["role"] == "system"]
    system = {"role": "system", "content": "\n\n".join([f"Answer in this voice: {voice}", *own])}
    return [system, *prompt[len(own) :]]


def with_shots(shots: Chat, prompt: Chat) -> list[dict[str, str]]:
    """The examples as earlier turns, after the system prompt if there is one."""
    system = [message for message in prompt[:1] if message["role"] == "system"]
    return [*system, *shots, *prompt[len(system) :]]


def _last(example: Example) -> dict[str, str]:
    return example.messages[-1].model_dump()


def _rows(examples: Sequence[Example]) -> list[EvalExample]:
    return [
        EvalExample(prompt="\n".join(m["content"] for m in e.prompt), answer=e.answer, topic=e.topic) for e in examples
    ]
