"""Facts: the attributes that a record in a prompt gives, and what an answer says about them.

A record is a set of lines `name: value` in a prompt. An answer is searched for the values that the data have for each
attribute; a value that no row has (an invented town, a garbled name) is not found. Numbers are found in digits and in
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
"""The forms of each pronoun."""
IDENTIFYING = 0.9
"""An attribute with a larger share of distinct values identifies people (a name) rather than describing them."""

SMALL = """zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen
seventeen eighteen nineteen"""
TENS = "twenty thirty forty fifty sixty seventy eighty ninety"
NUMBERS = {word: number for number, word in enumerate(SMALL.split())} | {
    word: 10 * number for number, word in enumerate(TENS.split(), 2)
}

Facts = dict[str, str]
"""Value by attribute, in the order of the record."""
Counts = Mapping[str, Mapping[str, int]]
"""How often each value of each attribute occurs in some records."""
AttributeOutcome = Literal["kept", "changed", "dropped", "unused"]


def facts_of(prompt: str) -> Facts:
    """Reads the record in a prompt; empty without at least two lines `name: value`."""
    found = {name.casefold(): value for name, value in LINE.findall(prompt)}
    return found if len(found) > 1 else {}


def with_value(prompt: str, attribute: str, value: str | None) -> str:
    """Replaces the value of one attribute of the record in a prompt, or removes its line if `value` is None."""

    def line(match: re.Match[str]) -> str:
        if match[1].casefold() != attribute:
            return match[0]
        start, end = match.start(2) - match.start(), match.end(2) - match.start()
        return "\0" if value is None else match[0][:start] + value + match[0][end:]

    changed = LINE.sub(line, prompt)
    return re.sub(r"\n\0(?=\n|$)|\0\n?", "", changed)


def counted(records: Iterable[Mapping[str, str]]) -> dict[str, dict[str, int]]:
    """Counts the values of each attribute in some records."""
    counts: dict[str, dict[str, int]] = {}
    for record in records:
        for name, value in record.items():
            values = counts.setdefault(name, {})
            values[value] = values.get(value, 0) + 1
    return counts


class Lexicon:
    """The values that attributes have in the data; finds them in texts."""

    def __init__(self, counts: Counts) -> None:
        self.counts = {name: Counter(values) for name, values in counts.items()}
        self._words = {
            name: [(value, _wordings(value)) for value in values if words(value)]
            for name, values in self.counts.items()
        }
        lengths = (len(one) for known in self._words.values() for _, wordings in known for one in wordings)
        self._longest = max(lengths, default=1)

    def values_in(self, text: str) -> dict[str, frozenset[str]]:
        """Finds the known values of each attribute in a text, allowing plural and possessive endings.

        A pronoun counts in all its forms; `they` only without `she` and `he`, since it also stands for things. A value
        that is part of another value of its attribute (`driver` in `bus driver`) counts only if that one is not found.
        """
        tokens = numerals(words(text))
        phrases = {
            (*tokens[i : i + n - 1], form)
            for n in range(1, self._longest + 1)
            for i in range(len(tokens) - n + 1)
            for form in forms(tokens[i + n - 1])
        }
        return {
            name: _pronouns(tokens) & frozenset(self.counts[name])
            if self.is_pronoun(name)
            else _longest_of(
                value
                for value, wordings in known
                if any((*wording[:-1], form) in phrases for wording in wordings for form in forms(wording[-1]))
            )
            for name, known in self._words.items()
        }

    def is_pronoun(self, attribute: str) -> bool:
        """Whether an attribute is a pronoun, which need not be used, rather than a fact to be told."""
        return set() < self.counts.get(attribute, Counter()).keys() <= PRONOUNS.keys()

    def identifies(self, attribute: str) -> bool:
        """Whether an attribute tells people apart (a name), so that its distribution says nothing."""
        values = self.counts.get(attribute, Counter())
        return len(values) > IDENTIFYING * values.total()


def outcomes(
    record: Mapping[str, str], values: Mapping[str, frozenset[str]], lexicon: Lexicon
) -> dict[str, AttributeOutcome]:
    """Says what became of each attribute of a record in an answer with the values `values` (`Lexicon.values_in`).

    `changed`: another known value occurs, instead of the record's or beside it, and is not part of what the record
    gives for another attribute. `dropped`: no known value occurs. A pronoun that is not used is `unused`, not a fault.
    """
    found: dict[str, AttributeOutcome] = {}
    for name, value in record.items():
        here = values.get(name, frozenset())
        if _unexplained(here - {value}, record, name):
            found[name] = "changed"
        elif value in here:
            found[name] = "kept"
        else:
            found[name] = "unused" if lexicon.is_pronoun(name) else "dropped"
    return found


def made_up(record: Mapping[str, str], values: Mapping[str, frozenset[str]]) -> dict[str, frozenset[str]]:
    """Returns the values that an answer gives for attributes that the record leaves out."""
    extra = {name: _unexplained(here, record, name) for name, here in values.items() if name not in record}
    return {name: here for name, here in extra.items() if here}


def numerals(tokens: Sequence[str]) -> list[str]:
    """Writes numbers below a hundred in digits; `one`, a pronoun, stays unless it follows a ten."""
    found: list[str] = []
    tens = 0
    for word in tokens:
        number = NUMBERS.get(word, 0)
        if tens and 0 < number < 10:
            found[-1], tens = str(tens + number), 0
            continue
        tens = number if number >= 20 else 0
        found.append(str(number) if word in NUMBERS and word != "one" else word)
    return found


def _wordings(value: str) -> set[tuple[str, ...]]:
    """Returns the words of a value and, if there are several, the same with the first as a gerund in each spelling."""
    first, *rest = numerals(words(value)) or [""]
    stems = {first, first.removesuffix("e"), first + first[-1:]} if rest else set()
    return {(first, *rest), *((f"{stem}ing", *rest) for stem in stems)}


def _longest_of(values: Iterable[str]) -> frozenset[str]:
    """Drops values that are part of a longer one."""
    size = {value: len(words(value)) for value in values}
    return frozenset(v for v in size if not any(size[v] < size[other] and on_topic(other, v) for other in size))


def _unexplained(values: frozenset[str], record: Mapping[str, str], name: str) -> frozenset[str]:
    """Drops values of an attribute that are part of what the record gives for other attributes."""
    if not values:
        return values
    others = [" ".join(one) for other, given in record.items() if other != name for one in _wordings(given)]
    return frozenset(v for v in values if not any(on_topic(other, v) for other in others))


def _pronouns(tokens: Sequence[str]) -> frozenset[str]:
    found = {pronoun for pronoun, its_forms in PRONOUNS.items() if not its_forms.isdisjoint(tokens)}
    return frozenset(found - {"they"} if len(found) > 1 else found)
