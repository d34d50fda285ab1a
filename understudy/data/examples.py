"""Examples: the rows a persona is taught from, read from a recipe's file with errors that name file and line."""

from pathlib import Path

from understudy.data.load import load_data, read_data, require_good
from understudy.data.messages import Example, Message, fingerprint

__all__ = ["Example", "Message", "fingerprint", "load_examples"]


def load_examples(path: Path) -> list[Example]:
    """Reads a recipe's rows from a file of any kind that `load_data` reads; nothing is left out silently.

    In a `.jsonl` file, which people write by hand, a row of our own form (`{"messages": [...]}` or
    `{"prompt": str, "completion": str}`) may have no columns that we do not know: a misspelt one would be lost.
    In other files and forms such columns are ignored.

    Raises:
        ExamplesError: the file is missing, empty, or a row is malformed (file, line and remedy are named).
    """
    if path.suffix.lower() != ".jsonl":
        return list(load_data(path).examples)
    return list(require_good(read_data(path, strict=True)).examples)
