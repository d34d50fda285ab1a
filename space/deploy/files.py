"""What a Space consists of: the code it needs and nothing else, its front matter, its requirements.

Which code that is, is read from the code itself: everything that `space.app` imports, at start or later.
"""

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Literal

import yaml

from understudy.config.settings import PROJECT
from understudy.errors import DeployError

Flavor = Literal["gradio", "docker"]

OURS = ("space", "arena", "evaluate", "understudy")
"""Packages that a Gradio Space may have parts of."""
ALL = (*OURS, "serve", "train")
"""Packages of a Docker Space, which runs the engine too."""
BESIDES = {
    "space.theme": ("space/style.css",),
    "space.i18n": ("space/texts/*.json",),
    "understudy.registry.database": ("understudy/registry/migrations/**/*.py",),
}
"""What modules read besides the code they import."""
TEMPLATES = Path(__file__).parents[1] / "huggingface"
REQUIREMENTS = Path(__file__).parents[1] / "requirements.txt"
PORT = 7860
LONGEST_DESCRIPTION = 60
"""Characters; the Hub refuses more."""


@dataclass(frozen=True)
class SpaceSpec:
    """The Space that somebody wants."""

    repo: str
    """ORG/NAME."""
    flavor: Flavor = "gradio"
    hardware: str = ""
    """A name of the Hub's, such as cpu-basic or l4x1; empty leaves what is there."""
    title: str = "Understudy"
    description: str = "Chat with personas, judge them blind against the base"
    license: str = "apache-2.0"
    models: tuple[str, ...] = ()
    """Repositories of the base and the personas."""
    dataset: str = ""
    """ORG/NAME of the repository that votes are kept in."""
    oauth: bool = False
    """Whether people can sign in with their Hub account."""
    recipes: tuple[str, ...] = ()
    """Docker only: recipes that go up with their examples, to be trained there."""
    personas: bytes = b""
    """Docker only: a personas.yaml, when personas follow repositories of the Hub."""

    @property
    def gpu(self) -> bool:
        return self.flavor == "docker" and not self.hardware.startswith("cpu-")


def files(wish: SpaceSpec) -> dict[str, bytes]:
    """Path and content of everything that the Space's repository gets from us.

    Raises:
        DeployError: the code needs something that a Space of this flavour has not, or a recipe is not there.
    """
    found = {"README.md": readme(wish).encode()}
    if wish.flavor == "gradio":
        found["app.py"] = (TEMPLATES / "app.py").read_bytes()
        found["requirements.txt"] = REQUIREMENTS.read_bytes()
        return found | {path: (PROJECT / path).read_bytes() for path in code("space.app")}
    dockerfile = "gpu.Dockerfile" if wish.gpu else "cpu.Dockerfile"
    found["Dockerfile"] = (TEMPLATES / "docker" / dockerfile).read_bytes()
    found["start.py"] = (TEMPLATES / "docker" / "start.py").read_bytes()
    if wish.personas:
        found["personas.yaml"] = wish.personas
    return found | {path: (PROJECT / path).read_bytes() for path in _everything(wish)}


def front_matter(wish: SpaceSpec) -> dict[str, Any]:
    """What the Hub reads at the top of README.md (https://huggingface.co/docs/hub/spaces-config-reference).

    Raises:
        DeployError: the description is too long.
    """
    if len(wish.description) > LONGEST_DESCRIPTION:
        raise DeployError(
            f"the description has {len(wish.description)} characters, the Hub takes {LONGEST_DESCRIPTION}: shorten it"
        )
    matter: dict[str, Any] = {"title": wish.title, "emoji": "🎭", "colorFrom": "red", "colorTo": "yellow"}
    if wish.flavor == "gradio":
        python = "3.11"
        matter |= {"sdk": "gradio", "sdk_version": gradio_pin(), "python_version": python, "app_file": "app.py"}
    else:
        suggested = wish.hardware or "l4x1"
        matter |= {"sdk": "docker", "app_port": PORT, "suggested_hardware": suggested}
        matter["startup_duration_timeout"] = "1h"
    matter |= {"pinned": False, "license": wish.license, "short_description": wish.description}
    matter["tags"] = ["understudy", "lora", "arena", "human-preference"]
    if wish.models:
        matter["models"] = list(wish.models)
    if wish.dataset:
        matter["datasets"] = [wish.dataset]
    if wish.oauth:
        matter["hf_oauth"] = True
    return matter


def readme(wish: SpaceSpec) -> str:
    """The Space's README.md: front matter, and a page for whoever opens its files."""
    matter = yaml.safe_dump(front_matter(wish), sort_keys=False, allow_unicode=True)
    return f"---\n{matter}---\n\n{(TEMPLATES / 'README.md').read_text(encoding='utf-8')}"


def gradio_pin() -> str:
    """The one version of Gradio that we test with."""
    pins = REQUIREMENTS.read_text().splitlines()
    return next(pin.partition("==")[2] for pin in pins if pin.startswith("gradio["))


@cache
def code(*modules: str) -> tuple[str, ...]:
    """Paths of our files that `modules` import, directly or not, now or later, sorted.

    Raises:
        DeployError: one of them needs a package of ours that no Gradio Space has.
    """
    waiting, seen = list(modules), set[str]()
    while waiting:
        name = waiting.pop()
        if name in seen or (path := _source(name)) is None:
            continue
        if name.partition(".")[0] not in OURS:
            raise DeployError(f"{name} cannot be part of a Gradio Space; it has {', '.join(OURS)}")
        seen.add(name)
        waiting.extend(_imports(path))
        waiting.append(name.rpartition(".")[0])
    paths = {_relative(path) for name in seen if (path := _source(name))}
    for name in seen & BESIDES.keys():
        paths |= {_relative(path) for pattern in BESIDES[name] for path in PROJECT.glob(pattern)}
    return tuple(sorted(paths))


def _source(module: str) -> Path | None:
    """The file of a module of ours; None for other people's."""
    if module.partition(".")[0] not in ALL:
        return None
    stem = PROJECT.joinpath(*module.split("."))
    return next((path for path in (stem.with_suffix(".py"), stem / "__init__.py") if path.is_file()), None)


def _imports(path: Path) -> Iterator[str]:
    """Every module that a file names in an import, those in functions too, those for type checkers not."""
    waiting: list[ast.AST] = [ast.parse(path.read_text(encoding="utf-8"))]
    while waiting:
        node = waiting.pop()
        if isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING":
            waiting.extend(node.orelse)
            continue
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)
        waiting.extend(ast.iter_child_nodes(node))


def _everything(wish: SpaceSpec) -> list[str]:
    """Our packages whole, what they install, and the recipes that were asked for by name."""
    variant = "gpu" if wish.gpu else "cpu"
    paths = [PROJECT / "pyproject.toml"]
    paths += [PROJECT / "requirements" / f"{name}.txt" for name in (variant, "base")]
    if not wish.gpu:
        paths.append(PROJECT / "requirements" / "overrides-cpu.txt")
    for package in ALL:
        paths += [path for path in (PROJECT / package).rglob("*") if path.is_file() and "__pycache__" not in path.parts]
    for name in wish.recipes:
        folder = PROJECT / "recipes" / name
        if not (folder / "recipe.yaml").is_file():
            raise DeployError(f"no recipe {name!r} in recipes/: there is no {name}/recipe.yaml")
        paths += [path for path in folder.rglob("*") if path.is_file() and not path.name.startswith(".")]
    missing = [_relative(path) for path in paths if not path.is_file()]
    if missing:
        raise DeployError(f"a Docker Space is made from a checkout of the project; there is no {missing[0]}")
    return sorted({_relative(path) for path in paths})


def _relative(path: Path) -> str:
    return path.relative_to(PROJECT).as_posix()
