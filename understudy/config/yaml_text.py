"""YAML that a person wrote: its values, where each stands, and what YAML makes of text without quotes."""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field

import yaml

from understudy.errors import ConfigError

Path = tuple[str, ...]

QUOTES = "put quotes around it"

CUT = re.compile(r"\s+#\S")
"""A comment that begins without a space after its #: more likely part of the text."""


@dataclass(frozen=True)
class YamlText:
    """What a text says, and where."""

    value: object
    places: dict[Path, str] = field(default_factory=dict)
    """Line and column of each value, by its keys and places in lists."""
    cut: dict[Path, str] = field(default_factory=dict)
    """Places of texts behind which a comment begins like `#this`."""


def read_yaml(text: str, where: str) -> YamlText:
    """Read a YAML text. `where` names its file.

    Raises:
        ConfigError: it is not YAML, or a key stands twice; the message has line, column and remedy.
    """
    try:
        node = yaml.compose(text, Loader=yaml.SafeLoader)
        value = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise ConfigError(_explained(error, text, where)) from None
    except (ValueError, RecursionError) as error:  # a date such as 2026-13-45, or brackets without end
        raise ConfigError(f"{where}: not YAML: {str(error) or type(error).__name__}; {QUOTES}") from None
    read, lines = YamlText(value), text.splitlines()
    for path, one in _nodes(node, where):
        read.places[path] = _place(one.start_mark)
        rest = lines[one.end_mark.line][one.end_mark.column :] if one.end_mark.line < len(lines) else ""
        if isinstance(one, yaml.ScalarNode) and one.style is None and CUT.match(rest):
            read.cut[path] = f"{_place(one.end_mark)}: {rest.strip()[:30]!r} is read as a comment"
    return read


def _nodes(root: yaml.Node | None, where: str) -> Iterator[tuple[Path, yaml.Node]]:
    """Every value with its path. Raises ConfigError for a key that stands twice."""
    pending: list[tuple[Path, yaml.Node]] = [((), root)] if root else []
    seen: set[int] = set()
    while pending:
        path, node = pending.pop()
        yield path, node
        if id(node) in seen:  # an alias of what was read already
            continue
        seen.add(id(node))
        if isinstance(node, yaml.MappingNode):
            keys: set[str] = set()
            for key, value in node.value:
                name = str(key.value)
                if name in keys and name != "<<":
                    raise ConfigError(f"{where}: {_place(key.start_mark)}: the key {name!r} stands twice; keep one")
                keys.add(name)
                pending.append(((*path, name), value))
        elif isinstance(node, yaml.SequenceNode):
            pending += [((*path, str(number)), value) for number, value in enumerate(node.value)]


def _place(mark: yaml.Mark) -> str:
    return f"line {mark.line + 1}, column {mark.column + 1}"


def _explained(error: yaml.YAMLError, text: str, where: str) -> str:
    """What is wrong, where, and what to do: most often a text needs quotes."""
    mark = getattr(error, "problem_mark", None)
    problem = " ".join(str(getattr(error, "problem", None) or error).split())
    if mark is None:
        return f"{where}: not YAML: {problem}; save it as plain text"
    if "\\t" in problem or "tab" in problem:
        return f"{where}: {_place(mark)}: not YAML ({problem}); indent with spaces"
    lines = text.splitlines()
    line = lines[mark.line].strip() if mark.line < len(lines) else ""
    if not line:
        return f"{where}: {_place(mark)}: not YAML ({problem}); close what is open, or put quotes around the text"
    return f"{where}: {_place(mark)}: not YAML ({problem}); if {line[:60]!r} holds text, {QUOTES}"
