"""Facts: the attributes that a record in a prompt gives, and what an answer says of them.

A record is lines `name: value` in a prompt. What an answer says is found by the values that the data have for an
attribute; a value that no row has (an invented town, a garbled name) is not seen. Numbers are found in digits and in
words ("14", "fourteen"), and a phrase also with its first word as a gerund ("plant an orchard", "planting an orchard").
"""

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Literal

from understudy.statistics.answer_checks import forms, on_topic, words

LINE = re.compile(r"^[ \t]*([^\W\d_][\w -]{0,30}?)[ \t]*:[ \t]+(\S.*?)[ \t\r]*$", re.MULTILINE)
PRONOUNS = {
    "she": frozenset(("she", "her", "hers", "herself")),
    "he": frozenset(("he", "him", "his", "himself")),
    "they": frozenset(("they", "them", "their", "theirs", "themselves", "themself")),
}
"""The words by which each is heard."""
IDENTIFYING = 0.9
"""Share of different values among all from which on an attribute names people rather than describing them."""

SMALL = """zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen
seventeen eighteen nineteen"""
TENS = "twenty thirty forty fifty sixty seventy eighty ninety"
NUMBERS = {word: number for number, word in enumerate(SMALL.split())} | {
    word: 10 * number for number, word in enumerate(TENS.split(), 2)
}

Facts = dict[str, str]
"""Value by attribute, in the order of the record."""
Counts = Mapping[str, Mapping[str, int]]
"""How often each value of each attribute stands in some records."""
Fate = Literal["kept", "changed", "dropped", "unsaid"]


def facts_of(prompt: str) -> Facts:
    """The record in a prompt; empty where there are not at least two lines `name: value`."""
    found = {name.casefold(): value for name, value in LINE.findall(prompt)}
    return found if len(found) > 1 else {}


def with_value(prompt: str, attribute: str, value: str | None) -> str:
    """The prompt with another value of an attribute of its record, or, for None, without its line."""

    def line(match: re.Match[str]) -> str:
        if match[1].casefold() != attribute:
            return match[0]
        start, end = match.start(2) - match.start(), match.end(2) - match.start()
        return "\0" if value is None else match[0][:start] + value + match[0][end:]

    changed = LINE.sub(line, prompt)
    return re.sub(r"\n\0(?=\n|$)|\0\n?", "", changed)


def counted(records: Iterable[Mapping[str, str]]) -> dict[str, dict[str, int]]:
    """The values of some records."""
    counts: dict[str, dict[str, int]] = {}
    for record in records:
        for name, value in record.items():
            values = counts.setdefault(name, {})
            values[value] = values.get(value, 0) + 1
    return counts


class Lexicon:
    """The values that attributes have in the data, and where they stand in a text."""

    def __init__(self, counts: Counts) -> None:
        self.counts = {name: Counter(values) for name, values in counts.items()}
        self._words = {
            name: [(value, _wordings(value)) for value in values if words(value)]
            for name, values in self.counts.items()
        }
        lengths = (len(said) for known in self._words.values() for _, ways in known for said in ways)
        self._longest = max(lengths, default=1)

    def said(self, text: str) -> dict[str, frozenset[str]]:
        """The known values of each attribute that stand in a text, plural and possessive endings allowed.

        A pronoun is heard in all its forms; `they` only where neither `she` nor `he` is, for things are `they`, too.
        A value that is part of another one of its attribute (`driver` of `bus driver`) is heard only without that one.
        """
        heard = numerals(words(text))
        there = {
            (*heard[i : i + n - 1], form)
            for n in range(1, self._longest + 1)
            for i in range(len(heard) - n + 1)
            for form in forms(heard[i + n - 1])
        }
        return {
            name: _pronouns(heard) & frozenset(self.counts[name])
            if self.is_pronoun(name)
            else _longest_of(
                value
                for value, ways in known
                if any((*said[:-1], form) in there for said in ways for form in forms(said[-1]))
            )
            for name, known in self._words.items()
        }

    def is_pronoun(self, attribute: str) -> bool:
        """Whether an attribute is how a person is spoken of rather than a fact to be told."""
        return set() < self.counts.get(attribute, Counter()).keys() <= PRONOUNS.keys()

    def identifies(self, attribute: str) -> bool:
        """Whether an attribute tells people apart (a name): a distribution of it says nothing."""
        values = self.counts.get(attribute, Counter())
        return len(values) > IDENTIFYING * values.total()


def fates(record: Mapping[str, str], said: Mapping[str, frozenset[str]], lexicon: Lexicon) -> dict[str, Fate]:
    """What became of each attribute of a record in an answer that says `said`.

    `changed`: another known value stands there, in its place or beside it (a value that stands in what the record
    gives to another attribute does not count). `dropped`: no known value does. A pronoun that is not used is `unsaid`,
    which is no fault.
    """
    found: dict[str, Fate] = {}
    for name, value in record.items():
        here = said.get(name, frozenset())
        if _unexplained(here - {value}, record, name):
            found[name] = "changed"
        elif value in here:
            found[name] = "kept"
        else:
            found[name] = "unsaid" if lexicon.is_pronoun(name) else "dropped"
    return found


def made_up(record: Mapping[str, str], said: Mapping[str, frozenset[str]]) -> dict[str, frozenset[str]]:
    """The values that an answer says of attributes that the record leaves out."""
    extra = {name: _unexplained(here, record, name) for name, here in said.items() if name not in record}
    return {name: here for name, here in extra.items() if here}


def numerals(heard: Sequence[str]) -> list[str]:
    """These words with numbers below a hundred in digits; `one` stays unless it follows a ten, for it is a pronoun."""
    found: list[str] = []
    tens = 0
    for word in heard:
        number = NUMBERS.get(word, 0)
        if tens and 0 < number < 10:
            found[-1], tens = str(tens + number), 0
            continue
        tens = number if number >= 20 else 0
        found.append(str(number) if word in NUMBERS and word != "one" else word)
    return found


def _wordings(value: str) -> set[tuple[str, ...]]:
    """The words of a value and, where there are several, the same with the first one as a gerund (all spellings)."""
    first, *rest = numerals(words(value)) or [""]
    stems = {first, first.removesuffix("e"), first + first[-1:]} if rest else set()
    return {(first, *rest), *((f"{stem}ing", *rest) for stem in stems)}


def _longest_of(values: Iterable[str]) -> frozenset[str]:
    """These values without those that are part of a longer one of them."""
    size = {value: len(words(value)) for value in values}
    return frozenset(v for v in size if not any(size[v] < size[other] and on_topic(other, v) for other in size))


def _unexplained(values: frozenset[str], record: Mapping[str, str], name: str) -> frozenset[str]:
    """These values of an attribute without those that stand in what the record gives to other attributes."""
    if not values:
        return values
    others = [" ".join(way) for other, given in record.items() if other != name for way in _wordings(given)]
    return frozenset(v for v in values if not any(on_topic(other, v) for other in others))


def _pronouns(heard: Sequence[str]) -> frozenset[str]:
    found = {pronoun for pronoun, said in PRONOUNS.items() if not said.isdisjoint(heard)}
    return frozenset(found - {"they"} if len(found) > 1 else found)
