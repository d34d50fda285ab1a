"""How much of the answers is copied from the training answers, measured against how alike these are themselves."""

from collections.abc import Sequence

import numpy as np
from pydantic import BaseModel, ConfigDict

from understudy.statistics.answer_checks import words
from understudy.statistics.intervals import Estimate, MeasurementError, bootstrap_mean, rate

GRAM = 8
"""Words in a row that count as copied, as in PaLM's check for contamination (Chowdhery et al., arXiv:2204.02311)."""
USUAL = 0.95
"""An answer copies more than usual when it exceeds this quantile of the training answers' own overlap."""


class CopiedText(BaseModel):
    """What one answer shares with the training answers to other prompts. Shares are of the answer, 0 to 1."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    row: int | None
    """Index of the training answer that has the longest common string; None if not one character is shared."""
    text: str
    """That string, case folded, with each white space as one space."""
    characters: float
    """Share of the longest common string, in characters."""
    words: float
    """Share of the longest common run of words (case and punctuation do not matter)."""
    grams: float
    """Share of its words that stand in an 8-gram which training answers have, too; a shorter answer is one gram as a
    whole. Words and not grams are counted (as in Llama 2, arXiv:2307.09288, A.6): one changed word costs one word.
    """
    exact: bool
    """A training answer to another prompt is this very answer (case and white space do not matter)."""
    unusual: bool
    """`characters` exceeds the 95th percentile of the training answers' own, by however little."""
    copied: bool
    """Far more than a template explains: `characters` or `grams` exceeds `Overlap.limit`, and `text` stands in
    one training answer only (or in several that are the same)."""


class OverlapMeasure(BaseModel):
    """One measure of copying over all answers, beside the training answers' own, each against all others."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    mean: Estimate
    """Mean over the answers."""
    training_median: float
    training_p95: float
    excess: Estimate
    """Share of answers above `training_p95`; about 0.05 when the answers are as alike as the training rows,
    more when they fill a common template with less: `CopyingReport.copied` is not misled by that."""

    @property
    def limit(self) -> float:
        """Half-way from `training_p95` to a full copy: more is not a slot of a template filled in a little shorter."""
        return (1 + self.training_p95) / 2


class MemorizationReport(BaseModel):
    """How much is copied, by answer and over all. `copied` is the headline, `excess` the sensitive warning."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    answers: tuple[CopiedText, ...]
    characters: OverlapMeasure
    words: OverlapMeasure
    grams: OverlapMeasure
    copied: Estimate
    """Share of answers that are copies, whole or nearly."""
    exact: Estimate
    """Share of answers that are training answers to other prompts."""
    training_exact: float
    """Share of training answers that are also the answer to another training prompt."""
    seen_prompts: int
    """Answers whose prompt is also a training prompt; that prompt's own answer is not counted as copied from."""

    @property
    def excess(self) -> Estimate:
        """Share of answers with a longer copied string than is usual among the training answers."""
        return self.characters.excess


def copying(
    answers: Sequence[str],
    training_answers: Sequence[str],
    *,
    prompts: Sequence[str] | None = None,
    training_prompts: Sequence[str] | None = None,
    seed: int = 0,
) -> MemorizationReport:
    """Measures how much of each answer is taken word for word from training answers to other prompts.

    Each training answer is measured in the same way against all others, so that a data set made from one template
    is not called memorised: what goes beyond that is `excess`, what goes far beyond it `copied`. With prompts, rows
    with the same prompt are not compared, neither with an answer nor with each other; training prompts that are all
    the same are ignored. An answer cut off early may count for `excess`, since a template's start is all there is.

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
    tokens = [words(text) for text in texts]
    letters = _Matched([list(text) for text in texts], sources, groups)
    runs = _Matched(tokens, sources, groups)
    first = len(training_answers)
    grams = [runs.gram_share(i) for i in range(len(texts))]
    exact = _exact(texts, groups, first)
    overlaps = [_overlap(shares, first, seed) for shares in (letters.shares, runs.shares, grams)]
    rows = list(zip(texts[:first], groups[:first], strict=True))
    longest = ["".join(letters.longest(i)) for i in range(len(texts))]
    copied = tuple(
        CopiedText(
            row=letters.rows[i],
            text=longest[i],
            characters=letters.shares[i],
            words=runs.shares[i],
            grams=grams[i],
            exact=exact[i],
            unusual=letters.shares[i] > overlaps[0].training_p95,
            copied=(letters.shares[i] > overlaps[0].limit or grams[i] > overlaps[2].limit)
            and len({row for row, group in rows if group != groups[i] and longest[i] in row}) == 1,
        )
        for i in range(first, len(texts))
    )
    return MemorizationReport(
        answers=copied,
        characters=overlaps[0],
        words=overlaps[1],
        grams=overlaps[2],
        copied=rate(sum(one.copied for one in copied), len(answers)),
        exact=rate(sum(exact[first:]), len(answers)),
        training_exact=sum(exact[:first]) / first,
        seen_prompts=sum(group in set(groups[:first]) for group in groups[first:]),
    )


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


def _exact(texts: list[str], groups: list[int], first: int) -> list[bool]:
    asked: dict[str, set[int]] = {}
    for text, group in zip(texts[:first], groups[:first], strict=True):
        asked.setdefault(text, set()).add(group)
    return [bool(text) and bool(asked.get(text, set()) - {g}) for text, g in zip(texts, groups, strict=True)]


def _overlap(shares: list[float], first: int, seed: int) -> OverlapMeasure:
    """`method="higher"`: of 17 rows the greatest, so that a further row of their kind exceeds it with 1 in 18."""
    own, mine = shares[:first], shares[first:]
    p95 = float(np.quantile(own, USUAL, method="higher"))
    return OverlapMeasure(
        mean=bootstrap_mean(mine, bounds=(0, 1), seed=seed),
        training_median=float(np.median(own)),
        training_p95=p95,
        excess=rate(sum(share > p95 for share in mine), len(mine)),
    )


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
