"""Probes: the prompts that a comparison of profiles asks every system, made from held-out records."""

from collections.abc import Sequence
from typing import Literal

from pydantic import BaseModel, ConfigDict

from evaluate.profiles.facts import Facts, Lexicon, facts_of, with_value
from understudy.errors import ExamplesError

ProbeKind = Literal["record", "swapped", "left out"]


class Swap(BaseModel):
    """Two values of an attribute that are exchanged."""

    model_config = ConfigDict(frozen=True)

    attribute: str
    one: str
    other: str

    def of(self, value: str) -> str | None:
        """Returns the other value; None for a value that is neither."""
        return {self.one: self.other, self.other: self.one}.get(value)


class ProbePrompt(BaseModel):
    """One prompt to ask, and how it was made."""

    model_config = ConfigDict(frozen=True)

    prompt: str
    kind: ProbeKind
    record: int
    """Index of the record that it was made from."""
    facts: Facts
    """The record in the prompt."""
    attribute: str = ""
    """The one that was swapped or left out."""


def read_swap(text: str) -> Swap:
    """Reads a swap written ATTRIBUTE=ONE/OTHER, such as `pronoun=she/he`.

    Raises:
        ExamplesError: it has another form.
    """
    attribute, _, values = (part.strip() for part in text.partition("="))
    one, _, other = (part.strip() for part in values.partition("/"))
    if not (attribute and one and other) or one == other:
        raise ExamplesError(f"--swap: found {text!r}; write ATTRIBUTE=ONE/OTHER, such as pronoun=she/he")
    return Swap(attribute=attribute.casefold(), one=one, other=other)


def probes(prompts: Sequence[str], swap: Swap, known: Lexicon) -> list[ProbePrompt]:
    """Makes probes: each record as it is, swapped if it has one of the two values, and without each attribute in turn.

    An attribute that identifies people is never left out. If the record lacks an attribute, the record itself is the
    probe for it. `known` are the values that attributes have in the data.

    Raises:
        ExamplesError: a prompt holds no record.
    """
    found = []
    for number, prompt in enumerate(prompts):
        facts = facts_of(prompt)
        if not facts:
            raise ExamplesError(
                f"no record in the prompt {prompt[:60]!r}; a comparison needs prompts with lines such as `name: Ada`"
            )
        found.append(ProbePrompt(prompt=prompt, kind="record", record=number, facts=facts))
        other = swap.of(facts.get(swap.attribute, ""))
        if other:
            found.append(_probe(prompt, "swapped", number, swap.attribute, other))
        for name in known.counts:
            if not known.identifies(name):
                found.append(_probe(prompt, "left out", number, name, None))
    return found


def _probe(prompt: str, kind: ProbeKind, record: int, attribute: str, value: str | None) -> ProbePrompt:
    facts = facts_of(prompt)
    if value is None:
        facts.pop(attribute, None)
    else:
        facts[attribute] = value
    return ProbePrompt(
        prompt=with_value(prompt, attribute, value), kind=kind, record=record, facts=facts, attribute=attribute
    )
