"""The Dockerfile as data: what each stage says, without a container engine."""

import json
import re
from dataclasses import dataclass, field
from pathlib import Path

from understudy.config.settings import PROJECT

TARGETS = ("space", "engine", "cpu")
"""The stages that are images."""


@dataclass
class Stage:
    """One `FROM`: what it is built on, and its instructions, each with what follows it."""

    name: str
    base: str
    lines: list[tuple[str, str]] = field(default_factory=list)

    def last(self, instruction: str) -> str:
        """What follows the last such instruction; "" where there is none."""
        return next((rest for name, rest in reversed(self.lines) if name == instruction), "")

    def command(self, instruction: str) -> list[str]:
        """The program and its arguments of CMD, ENTRYPOINT or HEALTHCHECK, which must be in exec form."""
        return json.loads(self.last(instruction).partition("CMD ")[2] or self.last(instruction))

    def copied(self) -> list[str]:
        """What is copied from the build context."""
        paths = [rest.split() for name, rest in self.lines if name == "COPY" and not rest.startswith("--from")]
        return [source for words in paths for source in words[:-1]]

    def variables(self) -> dict[str, str]:
        """What ENV sets."""
        said = " ".join(rest for name, rest in self.lines if name == "ENV")
        return dict(pair.split("=", 1) for pair in said.split())


def stages(path: Path = PROJECT / "Dockerfile") -> dict[str, Stage]:
    """The stages by name, in order. A stage that is built on another begins with what that one says."""
    text = re.sub(r"^\s*#.*\n", "", path.read_text(), flags=re.MULTILINE).replace("\\\n", " ")
    found: dict[str, Stage] = {}
    for line in filter(None, (line.strip() for line in text.splitlines())):
        instruction, rest = line.split(maxsplit=1)
        if instruction == "FROM":
            base, _, name = rest.partition(" AS ")
            found[name] = Stage(name, base, list(found[base].lines) if base in found else [])
        else:
            list(found.values())[-1].lines.append((instruction, " ".join(rest.split())))
    return found
