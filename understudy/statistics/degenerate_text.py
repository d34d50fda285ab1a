"""Whether a text is an answer at all: nothing, babble, one endless loop, broken characters, an echo."""

import re
import unicodedata
from collections import Counter

import numpy as np

LONGEST = 4000
"""Characters that are looked at."""

LOOP = 40
"""Fewest characters that a loop must fill; shorter ones are laughter, rulers and the like."""

MARKS = re.compile(
    r"<\|[a-z_]+\|>|\[/?INST\]|</?s>|<(?:start|end)_of_turn>|^### (?:Instruction|Response):", re.MULTILINE
)
"""Signs of a chat template written out as text: the fine-tune learnt another template than it is served with."""


def degenerate(text: str, prompt: str = "") -> str:
    """Why `text` is no answer to `prompt`, or an empty string."""
    text = text[:LONGEST]
    if not text.strip():
        return "it answers nothing"
    if broken(text):
        return "it writes broken or control characters"
    if MARKS.search(text):
        return "it writes the marks of a chat template"
    if _echoes(text, prompt):
        return "it repeats the prompt"
    if _repeats_words(text) or _loops(text):
        return "it repeats itself"
    return ""


def broken(text: str) -> bool:
    """Whether a text has more than a stray one of U+FFFD, control, private, surrogate or unassigned characters.

    One is allowed (a limit may cut the last character in half), and in long texts one in fifty.
    """
    bad = sum(
        c == "\ufffd" or (c not in "\n\r\t" and unicodedata.category(c) in ("Cc", "Cn", "Co", "Cs")) for c in text
    )
    return bad > max(1, len(text) / 50)


def _echoes(text: str, prompt: str) -> bool:
    """The prompt and next to nothing else. A greeting may be answered with the same greeting."""
    said, asked = (" ".join(t.casefold().split()) for t in (text, prompt))
    if len(asked.split()) < 3 or asked not in said:
        return False
    return len(said.replace(asked, "").strip()) <= len(asked) / 2


def _repeats_words(text: str) -> bool:
    """Three words in a row that come again and again, over most of the text."""
    words = text.split()
    if len(words) < 20:
        return False
    return Counter(zip(words, words[1:], words[2:], strict=False)).most_common(1)[0][1] > len(words) / 5


def _loops(text: str) -> bool:
    """A piece that comes four times or more in a row and fills half of the text, with or without spaces."""
    codes = np.frombuffer(text.encode("utf-32-le", "surrogatepass"), np.uint32)
    for period in range(1, len(codes) // 4 + 1):
        breaks = np.flatnonzero(codes[period:] != codes[:-period])
        run = int(np.max(np.diff(np.concatenate(([-1], breaks, [len(codes) - period]))))) - 1
        if run >= 3 * period and run + period >= max(LOOP, len(codes) / 2):
            return True
    return False
