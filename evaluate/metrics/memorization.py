"""How much of the answers is copied from the training answers, measured against how alike these are themselves."""

from collections.abc import Sequence

import numpy as np
from pydantic import BaseModel, ConfigDict

from understudy.errors import MeasurementError
from understudy.statistics.answer_checks import words
from understudy.statistics.intervals import Estimate, rate

GRAM = 8
"""Words in a row that count as copied, as in PaLM's check for contamination (Chowdhery et al., arXiv:2204.02311)."""
USUAL = 0.95
"""Quantile of the training answers' overlap with each other up to which overlap is usual."""


class CopiedText(BaseModel):
    """What one answer shares with the training answers to other prompts. Shares are of the answer, 0 to 1."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    row: int | None
    """Index of the training answer with the longest common string; None if they share no character."""
    text: str
    """That string, case folded, with each run of white space as one space."""
    characters: float
    """Length of that string over the answer's length, in characters."""
    grams: float
    """Share of its words inside an 8-gram that some training answer also has; an answer of fewer words is one gram.
    Counting words rather than grams (as Llama 2 does, arXiv:2307.09288, A.6) makes one changed word cost one word."""
    copied: bool
    """`characters` or `grams` lies over half-way between what is usual among the training answers and a full copy,
    and `text` occurs in one training answer only (or in several that are the same): more than a template explains."""


class MemorizationReport(BaseModel):
    """How much is copied from the training answers, by answer and overall."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    answers: tuple[CopiedText, ...]
    copied: Estimate
    """Share of answers that are copies, whole or nearly."""


def copying(
    answers: Sequence[str],
    training_answers: Sequence[str],
    *,
    prompts: Sequence[str] | None = None,
    training_prompts: Sequence[str] | None = None,
) -> MemorizationReport:
    """Measures how much of each answer is taken word for word from training answers to other prompts.

    Each training answer is measured in the same way against all others, so that a data set made from one template
    is not called memorized. With prompts, rows of the same prompt are not compared, neither with an answer nor with
    each other; training prompts that are all the same are ignored.

    Raises:
        MeasurementError: no answers, fewer than two training answers, or prompts that do not match in number.
    """
    if not answers or len(training_answers) < 2:
        raise MeasurementError(
            f"copying needs an answer and two training answers; found {len(answers)} and {len(training_answers)}"
        )
    groups = _groups(len(answers), len(training_answers), prompts, training_prompts)
    sources = [True] * len(training_answers) + [False] * len(answers)
    texts = [_folded(text) for text in (*training_answers, *answers)]
    letters = _Matched([list(text) for text in texts], sources, groups)
    runs = _Matched([words(text) for text in texts], sources, groups)
    first = len(training_answers)
    grams = [runs.gram_share(i) for i in range(len(texts))]
    most_characters, most_grams = _limit(letters.shares[:first]), _limit(grams[:first])
    rows = list(zip(texts[:first], groups[:first], strict=True))
    longest = ["".join(letters.longest(i)) for i in range(len(texts))]
    copied = tuple(
        CopiedText(
            row=letters.rows[i],
            text=longest[i],
            characters=letters.shares[i],
            grams=grams[i],
            copied=(letters.shares[i] > most_characters or grams[i] > most_grams)
            and len({row for row, group in rows if group != groups[i] and longest[i] in row}) == 1,
        )
        for i in range(first, len(texts))
    )
    return MemorizationReport(answers=copied, copied=rate(sum(one.copied for one in copied), len(answers)))


def matches(
    sequences: Sequence[Sequence[str]], sources: Sequence[bool], groups: Sequence[int]
) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """For each place of each sequence: the length of the longest run from there that a source has, and which.

    Only sequences with `sources[i]` count as sources, and only for sequences of another group; the second list has
    their indices, -1 where nothing matches. One suffix array over everything (prefix doubling, Manber and Myers
    1993): the best match of a place is the nearest source before or after it in sorted order.
    """
    owner = np.repeat(np.arange(len(sequences)), [len(s) + 1 for s in sequences])
    names, order = _suffixes(_codes(sequences))
    group, sorts = np.asarray(groups)[owner], np.asarray(sources)[owner]
    length, row = np.zeros(len(order), np.int64), np.full(len(order), -1)
    for direction in (order, order[::-1]):
        near = _nearest_before(group[direction], sorts[direction])
        here, there = direction[near >= 0], direction[near[near >= 0]]
        common = _common(names, here, there)
        better = common > length[here]
        length[here[better]], row[here[better]] = common[better], owner[there[better]]
    ends = np.cumsum([len(s) + 1 for s in sequences])[:-1]
    return [part[:-1] for part in np.split(length, ends)], [part[:-1] for part in np.split(row, ends)]


class _Matched:
    """The longest match of every sequence."""

    def __init__(self, sequences: list[list[str]], sources: list[bool], groups: list[int]) -> None:
        self.sequences = sequences
        self.lengths, rows = matches(sequences, sources, groups)
        self._at = [int(length.argmax()) if len(length) else 0 for length in self.lengths]
        found = [len(length) > 0 and length[at] > 0 for length, at in zip(self.lengths, self._at, strict=True)]
        self.rows = [int(r[at]) if f else None for r, at, f in zip(rows, self._at, found, strict=True)]
        self.shares = [float(length.max() / len(length)) if len(length) else 0.0 for length in self.lengths]

    def longest(self, i: int) -> list[str]:
        length = self.lengths[i]
        return self.sequences[i][self._at[i] : self._at[i] + int(length.max())] if len(length) else []

    def gram_share(self, i: int) -> float:
        length = self.lengths[i]
        size = min(GRAM, len(length))
        starts = np.flatnonzero(length >= size)
        return len(np.unique(starts[:, None] + np.arange(size))) / len(length) if size else 0.0


def _folded(text: str) -> str:
    return " ".join(text.casefold().split())


def _groups(
    answers: int, training: int, prompts: Sequence[str] | None, training_prompts: Sequence[str] | None
) -> list[int]:
    """A number for each prompt, training rows first; each text is its own group where prompts say nothing."""
    for name, given, wanted in (("prompts", prompts, answers), ("training_prompts", training_prompts, training)):
        if given is not None and len(given) != wanted:
            raise MeasurementError(f"{name}: found {len(given)} for {wanted} answers; each answer has one prompt")
    asked = [_folded(p) for p in training_prompts or ()]
    if len(set(asked)) < 2:
        return list(range(training + answers))
    numbers = {prompt: i for i, prompt in enumerate(dict.fromkeys(asked))}
    own = list(range(training, training + answers))
    if prompts is not None:
        own = [numbers.get(_folded(prompt), fresh) for prompt, fresh in zip(prompts, own, strict=True)]
    return [numbers[prompt] for prompt in asked] + own


def _limit(own: Sequence[float]) -> float:
    """Half-way from what is usual among the training answers to a full copy.

    A share above it is not a slot of a template filled in a little shorter. `method="higher"`: of 17 rows the
    greatest, so that a further row of their kind exceeds it with a probability of 1 in 18.
    """
    return (1 + float(np.quantile(own, USUAL, method="higher"))) / 2


def _codes(sequences: Sequence[Sequence[str]]) -> np.ndarray:
    """All sequences as one row of numbers, each ended by a number of its own."""
    known: dict[str, int] = {}
    codes: list[int] = []
    for i, sequence in enumerate(sequences):
        codes.extend(known.setdefault(item, len(known)) for item in sequence)
        codes.append(-1 - i)
    return np.asarray(codes, np.int64)


def _suffixes(codes: np.ndarray) -> tuple[list[np.ndarray], np.ndarray]:
    """Names of all windows of 1, 2, 4, ... items (equal names, equal windows), and the sorted suffixes."""
    names, keys, width = [], codes - codes.min(), 1
    while True:
        order = np.argsort(keys)
        fresh = np.concatenate(([0], np.diff(keys[order]) != 0))
        name = np.empty(len(codes), np.int32)
        name[order] = np.cumsum(fresh)
        names.append(name)
        if name[order[-1]] == len(codes) - 1:
            return names, order
        following = np.zeros(len(codes), np.int64)
        following[:-width] = name[width:].astype(np.int64) + 1
        keys = name.astype(np.int64) * (len(codes) + 1) + following
        width *= 2


def _nearest_before(group: np.ndarray, source: np.ndarray) -> np.ndarray:
    """For each entry the index of the last source of another group before it, or -1."""
    index = np.arange(len(group))
    at = index[source]
    if not len(at):
        return np.full(len(group), -1)
    begins = np.concatenate(([True], np.diff(group[at]) != 0))
    run = np.maximum.accumulate(np.where(begins, np.arange(len(at)), 0))
    before_run = np.where(run > 0, at[run - 1], -1)
    count = np.cumsum(source) - source
    last = np.where(count > 0, at[count - 1], -1)
    same = (last >= 0) & (group[last] == group)
    return np.where(same, before_run[count - 1], last)


def _common(names: list[np.ndarray], here: np.ndarray, there: np.ndarray) -> np.ndarray:
    """How many items two places have in common from there on."""
    length = np.zeros(len(here), np.int64)
    for level in range(len(names) - 1, -1, -1):
        equal = names[level][here + length] == names[level][there + length]
        length += equal.astype(np.int64) << level
    return length
