"""Control tokens: the marks with which a chat template separates turns, and texts that hold them.

A tokenizer makes one token of such a mark wherever it stands, so a text that holds one ends its turn and begins
another.
"""

import re
from collections.abc import Collection, Iterable

MARK = r"<\|[^|<>\s]{1,40}\|>|<｜[^｜<>\s]{1,40}｜>|<(?:start|end)_of_turn>|\[/?INST\]|<</?SYS>>"
"""What such a mark looks like in the templates in use: ChatML, Llama, Phi, Gemma, Mistral, DeepSeek."""

WRITTEN = re.compile(MARK)

FOREIGN = re.compile(rf"{MARK}|</s>|<s>(?=\s*\[INST\])|<eos>|<bos>")
"""Marks that some base reads as control tokens. `<s>` alone is HTML for struck-out text."""


def control_tokens(special: Iterable[str], template: str) -> frozenset[str]:
    """The texts that a base reads as control tokens: its special tokens, and marks that its template writes."""
    return frozenset(token for token in special if token.strip()) | frozenset(WRITTEN.findall(template))


def found_token(text: str, tokens: Collection[str]) -> str:
    """The first control token that a text holds; empty when there is none."""
    there = [(text.index(token), -len(token), token) for token in tokens if token in text]
    return min(there)[2] if there else ""
