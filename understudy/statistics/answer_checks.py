"""Checks of single answers: whole, ended by itself, on topic, no echo, and how long."""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from pydantic import BaseModel, ConfigDict

from understudy.statistics.degenerate_text import broken, degenerate

WORD = re.compile(r"[^\W_]+(?:['’][^\W_]+)*")
"""A word: letters and digits, with apostrophes inside (`don't`)."""
ECHO = 3
"""Words of a prompt that must come in a row to count as its repetition."""
ECHOED = 0.8
"""Share of the prompt's word triples from which on an opening is a repetition of it."""


@dataclass(frozen=True)
class PromptAndAnswer:
    """What was asked and what was answered."""

    prompt: str
    answer: str


class AnswerChecks(BaseModel):
    """What can be said about one answer without comparing it with others."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    characters: int
    """Unicode code points, without white space around the text."""
    words: int
    stopped: bool
    """It ended by itself rather than at a limit."""
    echoes_prompt: bool
    broken: bool
    """More broken or control characters than a stray one."""
    degenerate: str
    """Why it is no answer at all (nothing, babble, a loop, a template's marks); empty if it is one."""
    on_topic: bool | None
    """None where no topic was named."""

    @property
    def empty(self) -> bool:
        return self.characters == 0


def check(
    exchange: PromptAndAnswer, *, finish_reason: str | None, topic: str | Sequence[str] | None = None
) -> AnswerChecks:
    """All checks of this module on one answer."""
    text = exchange.answer.strip()
    return AnswerChecks(
        characters=len(text),
        words=len(words(text)),
        stopped=stopped(finish_reason),
        echoes_prompt=echoes_prompt(text, exchange.prompt),
        broken=broken(text),
        degenerate=degenerate(exchange.answer, exchange.prompt),
        on_topic=on_topic(text, topic) if topic else None,
    )


def words(text: str) -> list[str]:
    """The words of a text, case folded, without punctuation; `don't` is one word, `well-made` two.

    Languages that write no spaces give one word a clause; measures in characters hold for them, too.
    """
    return [word.replace("’", "'") for word in WORD.findall(text.casefold())]


def stopped(finish_reason: str | None) -> bool:
    """Whether OpenAI's `finish_reason` says that the model ended the answer itself (not "length", not unknown)."""
    return finish_reason == "stop"


def echo_share(answer: str, prompt: str) -> float:
    """How much of the prompt the answer starts with: the share of the prompt's word triples in its opening, 0 to 1.

    The opening is as long as the prompt and three words more ("You asked: ..."). A prompt of fewer than three words
    gives 0: a greeting may be answered with the same greeting.
    """
    asked = words(prompt)
    said = words(answer)[: len(asked) + ECHO]
    triples = _triples(asked)
    return len(triples & _triples(said)) / len(triples) if triples else 0.0


def echoes_prompt(answer: str, prompt: str) -> bool:
    """Whether the answer starts by repeating the prompt (four fifths of its word triples)."""
    return echo_share(answer, prompt) >= ECHOED


def on_topic(answer: str, topic: str | Sequence[str]) -> bool:
    """Whether the answer has the words of `topic` in this order, or those of one topic of several.

    Case does not matter, an article at the start of the topic neither; a plural or possessive ending on the last
    word (`cars`, `car's`) still counts, a longer word (`carpet` for `car`) does not.
    """
    if not isinstance(topic, str):
        return any(on_topic(answer, one) for one in topic)
    wanted = words(topic)
    if len(wanted) > 1 and wanted[0] in ("a", "an", "the"):
        wanted = wanted[1:]
    said = words(answer)
    return bool(wanted) and any(
        said[i : i + len(wanted) - 1] == wanted[:-1]
        and not forms(said[i + len(wanted) - 1]).isdisjoint(forms(wanted[-1]))
        for i in range(len(said) - len(wanted) + 1)
    )


def forms(word: str) -> set[str]:
    """A word of `words` and what it may be the English plural or possessive of; never fewer than three letters."""
    word = word.removesuffix("'s")
    endings = (("s", ""), ("ies", "y"), *((f"{c}es", c) for c in "sxzh"))
    return {word} | {
        word.removesuffix(s) + c for s, c in endings if word.endswith(s) and len(word) - len(s) + len(c) >= 3
    }


def _triples(tokens: list[str]) -> set[tuple[str, ...]]:
    return set(zip(tokens, tokens[1:], tokens[2:], strict=False))
