"""Observes an adapter beside its base and the base with few-shot examples: what `understudy verify` judges."""

import random
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Literal

from train.neutral import NEUTRAL, skills
from train.preflight import TrainingRow, token_rows, training_rows
from train.speaker import Chat, Speaker
from understudy.adapters import content_revision
from understudy.bases import Base, base_revision, resolve_base
from understudy.examples import Example
from understudy.proof import COMPARED, COMPARED_TOKENS, Asked, ContestantName, Heard, Said, Skill, Testimony
from understudy.recipes import Recipe
from understudy.training import Training

Stage = Callable[[str], None]
"""Called with what is done next."""

MOST = 64
"""Held-out rows that are asked, and training rows whose prompts the base is asked; drawn where there are more."""

PLAIN_TOKENS = 96
"""Length of the plain texts that the base writes, in tokens."""


def observe(
    recipe: Recipe, base: Base, product: Path, training: Training, *, max_tokens: int, on_stage: Stage
) -> Testimony:
    """Asks all contestants the held-out prompts, sampled as the base wants it, and takes the losses.

    `product` is what training made: an adapter, or the model of a full fine-tune; either is the contestant `adapter`.

    Raises:
        ExamplesError, BaseModelError: data or base cannot be used.
    """
    started = time.monotonic()
    heldout = asked_rows(recipe, base, training)
    examples = _some(recipe.load_examples(base.name), training.seed)
    on_stage("loading the base as it is served")
    full = training.method == "full"
    speaker = Speaker(base, None if full else product)
    tuned = Speaker(resolve_base(str(product)), None) if full else speaker
    heard: dict[ContestantName, Heard] = {}
    prompts = [example.prompt for example in heldout]
    rows = token_rows(training_rows(heldout), speaker.tokenizer)
    on_stage("asking the base")
    heard["base"] = Heard(
        answers=speaker.answers(prompts, max_tokens=max_tokens, with_adapter=False),
        losses=speaker.losses(rows, with_adapter=False),
    )
    taught = [example.prompt for example in examples]
    base_on_training = speaker.answers(taught, max_tokens=max_tokens, with_adapter=False)
    on_stage("asking the base with few-shot examples")
    shots = _shots(speaker, examples, [*prompts, *taught], max_tokens)
    shown = [_with_shots(shots, prompt) for prompt in prompts]
    fewshot_rows = token_rows(_after(shots, heldout), speaker.tokenizer)
    heard["few-shot"] = Heard(
        answers=speaker.answers(shown, max_tokens=max_tokens, with_adapter=False),
        losses=speaker.losses(fewshot_rows, with_adapter=False),
        shots=sum(message["role"] == "user" for message in shots),
    )
    on_stage("asking the adapter")
    heard["adapter"] = Heard(answers=tuned.answers(prompts, max_tokens=max_tokens), losses=tuned.losses(rows))
    adapter_on_training = tuned.answers(taught, max_tokens=max_tokens)
    training_losses = tuned.losses(token_rows(training_rows(examples), speaker.tokenizer))
    on_stage("asking what the base knew")
    plain = [said.text for said in speaker.answers(_chats(NEUTRAL), max_tokens=PLAIN_TOKENS, with_adapter=False)]
    plain = [text for text in plain if len(text.split()) > 2]
    plain_losses: dict[Literal["base", "adapter"], list[float]] = {
        "base": speaker.text_loss(plain, with_adapter=False),
        "adapter": tuned.text_loss(plain),
    }
    known = _skills(speaker, tuned, base, max_tokens)
    compared = prompts[:COMPARED]
    greedy: dict[Literal["base", "adapter"], list[Said]] = {
        "base": speaker.answers(compared, max_tokens=COMPARED_TOKENS, with_adapter=False, greedy=True),
        "adapter": tuned.answers(compared, max_tokens=COMPARED_TOKENS, greedy=True),
    }
    for one in {id(speaker): speaker, id(tuned): tuned}.values():
        one.close()
    return Testimony(
        recipe=recipe.name,
        base=base.name,
        revision=base_revision(resolve_base(str(product))) or "" if full else content_revision(product),
        heldout=_asked(heldout),
        training=_asked(examples),
        base_on_training=base_on_training,
        adapter_on_training=adapter_on_training,
        heard=heard,
        training_losses=training_losses,
        plain_losses=plain_losses,
        as_trained_losses=_as_trained(base, product, training, heldout, on_stage),
        skills=known,
        seconds=round(time.monotonic() - started, 1),
        method=training.method,
        greedy=greedy,
    )


def asked_rows(recipe: Recipe, base: Base, training: Training) -> list[Example]:
    """The held-out rows whose prompts are asked, in the order of the testimony. Raises ExamplesError."""
    return _some(recipe.load_heldout(base.name), training.seed)


def _after(shots: Chat, examples: Sequence[Example]) -> list[TrainingRow]:
    """Training rows of `examples`, each prompt preceded by `shots`."""
    return [replace(row, prompt=_with_shots(shots, row.prompt)) for row in training_rows(examples)]


def _shots(speaker: Speaker, examples: Sequence[Example], prompts: Sequence[Chat], max_tokens: int) -> Chat:
    """As many training rows, in their order, as fit before the longest prompt and an answer."""
    longest = max(prompts, key=speaker.length)
    room = speaker.context - max_tokens
    chosen: list[dict[str, str]] = []
    for example in examples:
        turns = [m.model_dump() for m in example.messages if m.role != "system"]
        if speaker.length(_with_shots([*chosen, *turns], longest)) > room:
            break
        chosen += turns
    return chosen


def _with_shots(shots: Chat, prompt: Chat) -> list[dict[str, str]]:
    """The examples as earlier turns, after the system prompt if there is one."""
    system = [message for message in prompt[:1] if message["role"] == "system"]
    return [*system, *shots, *prompt[len(system) :]]


def _as_trained(
    base: Base, adapter: Path, training: Training, heldout: Sequence[Example], on_stage: Stage
) -> list[float] | None:
    if training.method not in ("qlora", "lora-8bit"):
        return None
    on_stage("loading the base as it was trained on")
    speaker = Speaker(base, adapter, as_trained=training)
    losses = speaker.losses(token_rows(training_rows(heldout), speaker.tokenizer))
    speaker.close()
    return losses


def _skills(speaker: Speaker, tuned: Speaker, base: Base, max_tokens: int) -> list[Skill]:
    known = skills(base)
    chats = _chats([skill.prompt for skill in known])
    before = speaker.answers(chats, max_tokens=max_tokens, with_adapter=False)
    after = tuned.answers(chats, max_tokens=max_tokens)
    return [
        Skill(prompt=skill.prompt, base=skill.right(was.text), adapter=skill.right(now.text))
        for skill, was, now in zip(known, before, after, strict=True)
    ]


def _chats(prompts: Sequence[str]) -> list[Chat]:
    return [[{"role": "user", "content": prompt}] for prompt in prompts]


def _asked(examples: Sequence[Example]) -> list[Asked]:
    return [Asked(prompt="\n".join(m["content"] for m in e.prompt), answer=e.answer, topic=e.topic) for e in examples]


def _some(examples: list[Example], seed: int) -> list[Example]:
    if len(examples) <= MOST:
        return examples
    chosen = sorted(random.Random(seed).sample(range(len(examples)), MOST))
    return [examples[n] for n in chosen]
