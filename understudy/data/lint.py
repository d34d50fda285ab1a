"""Findings: what in a text a person should look at before a model learns it. Only that it is there is kept."""

import re
from collections.abc import Iterator
from typing import Literal

from understudy.data.control_tokens import FOREIGN
from understudy.data.forms.meaning import MEDIA_MARK
from understudy.data.messages import Example
from understudy.data.secrets import has_secret

FindingKind = Literal["placeholder_answer", "unprintable", "secret", "email", "media_mark", "control_token"]

UNPRINTABLE = re.compile(
    "[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u200b\u2060\ufeff\u202a-\u202e\u2066-\u2069\ufff9-\ufffd\ue000-\uf8ff]"
)
"""Control characters except tab and line ends, invisible spaces, marks that turn the direction of writing, the sign
for text that was not decoded, and characters that only private fonts have."""

EMAIL = re.compile(r"(?<![\w.+-])[\w.+-]{1,64}@(?!(?:[\w-]+\.)*example\b)(?:[\w-]{1,63}\.){1,8}[A-Za-z]{2,24}\b")
"""Addresses, except those of example.com and its like, which belong to nobody."""

PLACEHOLDER_ANSWER = re.compile(
    r"\W*(?:to ?do|tbd|tba|fixme|xxx+|undefined|placeholder|asdf\w*|lorem ipsum\b.{0,2000}"
    r"|(?:(?:insert|add|put|write|your|the) ){0,3}(?:answer|response|completion|output|text)(?: (?:goes )?here)?"
    r"|no (?:answer|response|output))\W*"
    r"|[\s.…?_*–—-]+",
    re.IGNORECASE | re.DOTALL,
)
"""Whole answers that stand for an answer: TODO, "...", "[insert answer]", "{{output}}", lorem ipsum."""


def findings(example: Example) -> Iterator[FindingKind]:
    """The kinds of things that an example holds, each at most once."""
    text = "\n".join(message.text for message in example.messages)
    if PLACEHOLDER_ANSWER.fullmatch(example.answer.strip()):
        yield "placeholder_answer"
    if UNPRINTABLE.search(text):
        yield "unprintable"
    if has_secret(text):
        yield "secret"
    if EMAIL.search(text):
        yield "email"
    if MEDIA_MARK.search(text):
        yield "media_mark"
    if FOREIGN.search(text):
        yield "control_token"
