"""Samples: several answers of a model to each prompt, drawn with a seed."""

from collections.abc import Callable, Sequence
from pathlib import Path

from train.speaker import BATCH, Chat, Speaker
from understudy.bases import Base, resolve_base

Told = Callable[[int, int], None]
"""Called with answers done and answers wanted."""


def sample_answers(
    base: Base,
    product: Path | None,
    chats: Sequence[Chat],
    *,
    samples: int,
    temperature: float,
    max_tokens: int,
    seed: int,
    on_answers: Told,
) -> list[tuple[str, ...]]:
    """`samples` answers to each chat, of what a run made (an adapter of `base`, or a whole model) or of the base.

    Raises:
        BaseModelError: the model cannot be loaded.
    """
    adapter = product is not None and (product / "adapter_config.json").is_file()
    speaker = Speaker(base if product is None or adapter else resolve_base(str(product)), product if adapter else None)
    wanted = [chat for chat in chats for _ in range(samples)]
    said: list[str] = []
    for number, start in enumerate(range(0, len(wanted), BATCH)):
        batch = wanted[start : start + BATCH]
        drawn = speaker.samples(batch, temperature=temperature, max_tokens=max_tokens, seed=seed + number)
        said += [one.text for one in drawn]
        on_answers(len(said), len(wanted))
    speaker.close()
    return [tuple(said[n : n + samples]) for n in range(0, len(said), samples)]
