"""Groups of rows that were made from one another or ask the same: each stays on one side of every split."""

import re
from collections.abc import Iterator, Sequence

from understudy.data.messages import Example


def duplicate_groups(examples: Sequence[Example]) -> list[list[int]]:
    """Return the numbers of the rows that belong together, group by group, in the order of their first rows.

    Rows belong together if they have the same prompt (apart from case, punctuation and spaces) or the same `parent`, or
    if the `parent` of one is the `source` of the other.
    """
    parents = {example.parent for example in examples if example.parent}
    leader = list(range(len(examples)))

    def lead(number: int) -> int:
        while leader[number] != number:
            leader[number] = number = leader[leader[number]]
        return number

    first: dict[tuple[str, str], int] = {}
    for number, example in enumerate(examples):
        for mark in _marks(example, parents):
            a, b = sorted((lead(first.setdefault(mark, number)), lead(number)))
            leader[b] = a
    groups: dict[int, list[int]] = {}
    for number in range(len(examples)):
        groups.setdefault(lead(number), []).append(number)
    return list(groups.values())


def _marks(example: Example, parents: set[str]) -> Iterator[tuple[str, str]]:
    """What rows of one group have in common. Prompts are compared as `understudy.data.contamination` compares them."""
    prompt = "\n".join(message.content for message in example.messages[:-1] if message.role != "system")
    yield "prompt", " ".join(re.findall(r"\w+", prompt.casefold())) or prompt
    if example.parent:
        yield "parent", example.parent
    if example.source in parents:
        yield "parent", str(example.source)
