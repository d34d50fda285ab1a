"""Fluency: how much the answers surprise the base, and which of their words do not exist."""

import re
from collections.abc import Sequence
from functools import cache

from pydantic import BaseModel, ConfigDict
from spellchecker import SpellChecker

from evaluate.code.metrics import longest_code
from understudy.statistics.answer_checks import WORD
from understudy.statistics.intervals import Estimate, bootstrap_mean

LANGUAGES = ("en", "de", "es", "fr", "it", "nl", "pt")
"""Word lists that come with pyspellchecker, for languages that write words apart."""
COVERED = 0.85
"""A word list is used if it knows at least this share of the training answers' words."""
SHORTEST = 3
"""Shortest word that is looked up, in letters."""
ENDINGS = ("ings", "ing", "ers", "ed", "er", "ly", "es", "s", "y")
"""Regular endings of words whose stem a list has: word lists lack many inflected forms."""
MOST_NATS = 100.0
"""Upper bound of the surprise at one token."""
SHOWN = 8
"""Made-up words that are named."""
MARKUP = re.compile(r"`[^`\n]*`|https?://\S+|\S+@\S+|#\w+|\[[^\]\n]*\]")
"""Inline code, addresses, tags and placeholders."""


class FluencyReport(BaseModel):
    """How fluent one contestant's answers are."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    surprise: Estimate | None
    """The base's, in nats per token of the answer given the prompt, without empty answers; None if not measured."""
    excess: Estimate | None
    """The same, less its surprise at the data's answer to the same prompt; negative if the answers surprise it less."""
    made_up: Estimate | None
    """Share of words found in no word list, training answer or prompt; by answer. None if no word list covers the
    language of the training answers."""
    words: tuple[str, ...]
    """Some of these words, the most frequent first."""


class Vocabulary:
    """The words that exist: those of a word list, the training rows and the prompts."""

    def __init__(self, training_answers: Sequence[str], prompts: Sequence[str]) -> None:
        self.language = covering_language(training_answers)
        """None if no word list covers the training answers; then no word counts as made up."""
        self._known = {word for text in (*training_answers, *prompts) for word in _looked_up(text, every=True)}

    def made_up(self, text: str) -> tuple[list[str], int]:
        """Returns the words of the text that do not exist, and how many words were looked up."""
        asked = _looked_up(text)
        if self.language is None:
            return [], 0
        listed = _word_list(self.language)
        return [word for word in asked if word not in self._known and not _exists(word, listed)], len(asked)


def fluency(
    answers: Sequence[str],
    surprise: Sequence[float | None],
    reference_losses: Sequence[float],
    vocabulary: Vocabulary,
    *,
    prompts: Sequence[str],
    seed: int = 0,
) -> FluencyReport:
    """Measures the answers to `prompts`; `reference_losses` are the base's on the data's answers to the same.

    Repetition is never surprising, so it is measured elsewhere (`understudy.statistics.degenerate_text`).
    """
    taken = zip(surprise, reference_losses, prompts, strict=True) if surprise else ()
    known = [(nats, nats - own, prompt) for nats, own, prompt in taken if nats is not None]
    asked = [prompt for _, _, prompt in known]
    found = [vocabulary.made_up(answer) for answer in answers]
    shares = [(len(words) / total, prompt) for (words, total), prompt in zip(found, prompts, strict=True) if total]
    every = [word for words, _ in found for word in words]
    return FluencyReport(
        surprise=_mean([nats for nats, _, _ in known], asked, seed),
        excess=_mean([excess for _, excess, _ in known], asked, seed),
        made_up=bootstrap_mean(
            [share for share, _ in shares], prompts=[prompt for _, prompt in shares], bounds=(0, 1), seed=seed
        )
        if shares
        else None,
        words=tuple(sorted(dict.fromkeys(every), key=lambda word: -every.count(word))[:SHOWN]),
    )


def _mean(values: Sequence[float], prompts: Sequence[str], seed: int) -> Estimate | None:
    return bootstrap_mean(values, prompts=prompts, bounds=(-MOST_NATS, MOST_NATS), seed=seed) if values else None


@cache
def _word_list(language: str) -> SpellChecker:
    return SpellChecker(language=language, distance=1)


def covering_language(texts: Sequence[str]) -> str | None:
    """Returns the first of `LANGUAGES` whose word list knows enough of the texts' words; None if no list does."""
    words = [word for text in texts for word in _looked_up(text)]
    if not words:
        return None
    for language in LANGUAGES:
        if sum(_exists(word, _word_list(language)) for word in words) >= COVERED * len(words):
            return language
    return None


def _looked_up(text: str, *, every: bool = False) -> list[str]:
    """Returns the words of a text in lower case; unless `every`, without names, numbers, code and short words."""
    if not every:
        text = prose(text)
    return [
        word.casefold()
        for match in WORD.finditer(text)
        for word in re.split(r"['’]", match[0])
        if every or (len(word) >= SHORTEST and word.isalpha() and word.islower())
    ]


def prose(answer: str) -> str:
    """Returns the answer without code, addresses and placeholders."""
    if "```" in answer:
        answer = re.sub(r"```.*?(?:```|\Z)", " ", answer, flags=re.DOTALL)
    elif code := longest_code(answer):
        answer = answer.replace(code.strip(), " ")
    return MARKUP.sub(" ", answer)


def _exists(word: str, listed: SpellChecker) -> bool:
    """Whether a list has the word, or its stem without a regular ending."""
    if word in listed.word_frequency:
        return True
    ending = next((end for end in ENDINGS if word.endswith(end)), "")
    stem = word.removesuffix(ending)
    return len(stem) >= SHORTEST and stem in listed.word_frequency
