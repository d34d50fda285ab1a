"""Reads data that a recipe names instead of shipping it, and splits it into training and held-out rows."""

import random
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from understudy.config.data_source import DataSource
from understudy.data.duplicates import duplicate_groups
from understudy.data.load import LoadedData, load_data
from understudy.data.messages import Example
from understudy.data.records import HUB
from understudy.errors import ExamplesError

MOST_HELDOUT = 500
"""Held-out rows that are ever split off: more make verification slow and hardly surer."""


@dataclass(frozen=True)
class SplitData:
    """The rows of a source on their two sides, and what was left out."""

    source: str
    rows: int
    """Rows that were read."""
    bad: int
    duplicates: int
    """Left out only with `on_bad: skip`."""
    too_long: int
    skipped: int
    first_problem: str
    """The first bad row in words; empty when there is none."""
    examples: tuple[Example, ...]
    heldout: tuple[Example, ...]
    ignored: tuple[str, ...] = ()
    """Columns that no example uses."""

    def __str__(self) -> str:
        """One line for people: what was read, left out, and kept."""
        kinds = ((self.bad, "bad"), (self.duplicates, "repeated"), (self.too_long, "too long"))
        why = ", ".join(f"{count:,} {kind}" for count, kind in kinds if count and self.skipped)
        left_out = f"{self.skipped:,} skipped ({why})" if self.skipped else "none skipped"
        first = f"; the first: {self.first_problem}" if self.skipped and self.first_problem else ""
        ignored = f"; columns that are not used: {', '.join(self.ignored)}" if self.ignored else ""
        return (
            f"{self.source}: {self.rows:,} rows, {left_out}, {len(self.examples):,} to train on, "
            f"{len(self.heldout):,} held out{first}{ignored}"
        )


@lru_cache(maxsize=4)
def read_source(data: DataSource, folder: Path) -> SplitData:
    """Read both sides of the data. The same source is read once in a process.

    Rows of one group (see `understudy.data.duplicates`) stay on one side.

    Raises:
        ExamplesError: as `load_data` does, or all rows are too long, or one is and `on_bad` is "refuse".
    """
    source = data.source if data.source.startswith(HUB) else str(folder / data.source)
    whole = load_data(source, columns=data.columns or None, on_bad=data.on_bad)
    kept, too_long = _short_enough(whole, data, source)
    if data.limit and data.limit < len(kept):
        kept = [kept[n] for n in sorted(random.Random(data.seed).sample(range(len(kept)), data.limit))]
    examples, heldout = split_off(kept, data.heldout, data.seed)
    skipping = data.on_bad == "skip"
    bad, duplicates = len(whole.bad), whole.counts["duplicates"] if skipping else 0
    return SplitData(
        source=data.source,
        rows=whole.counts["rows"],
        bad=bad,
        duplicates=duplicates,
        too_long=too_long,
        skipped=bad + duplicates + too_long,
        first_problem=str(whole.bad[0]) if whole.bad else "",
        examples=tuple(examples),
        heldout=tuple(heldout),
        ignored=whole.columns_ignored,
    )


def split_off(examples: Sequence[Example], share: float, seed: int) -> tuple[list[Example], list[Example]]:
    """Split off about `share` of the rows as held-out rows; both sides keep their order, and the first of the shuffled
    groups is never held out."""
    wanted = min(MOST_HELDOUT, round(share * len(examples)))
    groups = duplicate_groups(examples)
    random.Random(seed).shuffle(groups)
    held: set[int] = set()
    for group in groups[1:]:
        if len(held) + len(group) <= wanted:
            held.update(group)
    sides = ([], [])
    for number, example in enumerate(examples):
        sides[number in held].append(example)
    return sides


def _short_enough(whole: LoadedData, data: DataSource, source: str) -> tuple[list[Example], int]:
    """The rows that are not too long, and how many are. Raises ExamplesError."""
    if not data.max_characters:
        return list(whole.examples), 0
    sizes = [_characters(example) for example in whole.examples]
    long = [n for n, size in enumerate(sizes) if size > data.max_characters]
    kept = [example for example, size in zip(whole.examples, sizes, strict=True) if size <= data.max_characters]
    if long and (data.on_bad == "refuse" or not kept):
        raise ExamplesError(
            f"{whole.origins[long[0]]}: {sizes[long[0]]:,} characters, more than data.max_characters "
            f"{data.max_characters:,} ({len(long):,} of {len(sizes):,} rows of {source}); raise it or set on_bad: skip"
        )
    return kept, len(long)


def _characters(example: Example) -> int:
    return sum(len(message.content) for message in example.messages)
