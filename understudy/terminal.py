"""Foreign text on a terminal: what a name, a file or a server says must not move the cursor, colour, or forge lines."""

import logging
import re

HARMFUL = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff]"
)
"""Control characters but tab and newline, marks that turn the direction of writing, and halves of characters."""


def printable(text: object) -> str:
    r"""The text with each harmful character as its escape, such as `\x1b`; tabs and newlines stay."""
    return HARMFUL.sub(lambda found: found[0].encode("unicode_escape").decode(), str(text))


def one_line(text: object) -> str:
    """The same with newlines and tabs as their escapes, too: for names within a line or a cell."""
    return printable(text).replace("\n", r"\n").replace("\t", r"\t")


class PlainFormatter(logging.Formatter):
    """Writes log records for a terminal, harmful characters as their escapes."""

    def format(self, record: logging.LogRecord) -> str:
        return printable(super().format(record))
