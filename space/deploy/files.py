"""The files of a Space: the code it needs and nothing else, its front matter, its requirements.

The code is everything that `space.app` imports, at start or later, found by reading the imports.
"""

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Literal

import yaml

from space.deploy.static_page import page_files, page_text
from space.web import ISOLATION
from understudy.config.settings import PROJECT
from understudy.errors import DeployError

Flavor = Literal["gradio", "docker", "zerogpu", "static"]

GRADIO_PACKAGES = ("space", "arena", "evaluate", "understudy")
"""Packages that a Gradio Space may have parts of."""
ZEROGPU_PACKAGES = (*GRADIO_PACKAGES, "serve")
"""Packages that a ZeroGPU Space may have parts of: it validates adapters itself."""
ZEROGPU = "zero-a10g"
"""The Hub's name for this hardware."""
DOCKER_PACKAGES = (*GRADIO_PACKAGES, "serve", "train")
"""Packages of a Docker Space, which runs the engine too."""
DATA_FILES = {
    "space.theme": ("space/style.css",),
    "space.i18n": ("space/texts/*.json",),
    "understudy.registry.database": ("understudy/registry/migrations/**/*.py",),
}
"""Files that a module reads besides the code it imports."""
TEMPLATES = Path(__file__).parents[1] / "huggingface"
REQUIREMENTS = Path(__file__).parents[1] / "requirements.txt"
ZEROGPU_REQUIREMENTS = Path(__file__).parents[1] / "requirements-zerogpu.txt"
PORT = 7860
PYTHON = {"gradio": "3.11", "zerogpu": "3.12"}
"""Version by flavour: a plain Gradio Space has any, so the tests' own; ZeroGPU has 3.10.13 and 3.12.12."""
BADGES = """[![Duplicate this Space](https://huggingface.co/datasets/huggingface/badges/resolve/main/duplicate-this-space-md.svg)](https://huggingface.co/spaces/{repo}?duplicate=true)

For a page elsewhere: `[![Open in Spaces](https://huggingface.co/datasets/huggingface/badges/resolve/main/open-in-hf-spaces-md.svg)](https://huggingface.co/spaces/{repo})`
"""
MAX_DESCRIPTION = 60
"""Characters; the Hub refuses more."""


@dataclass(frozen=True)
class SpaceSpec:
    """The Space to deploy."""

    repo: str
    """ORG/NAME."""
    flavor: Flavor = "gradio"
    hardware: str = ""
    """The Hub's name for it, such as cpu-basic or l4x1; empty keeps what the Space has."""
    title: str = "Understudy"
    description: str = "Chat with personas, judge them blind against the base"
    license: str = "apache-2.0"
    models: tuple[str, ...] = ()
    """Repositories of the base and the personas."""
    dataset: str = ""
    """ORG/NAME of the repository for votes."""
    oauth: bool = False
    """Whether people can sign in with their Hub account."""
    recipes: tuple[str, ...] = ()
    """Docker only: recipes that are sent with their examples, to be trained there."""
    personas: bytes = b""
    """Docker and ZeroGPU: a personas.yaml, when personas follow repositories of the Hub."""
    base: str = ""
    """ZeroGPU only: the base, a Hub id; or `tiny`, which goes along."""
    page: Path | None = None
    """Static only: the folder that `understudy export --to web` wrote."""

    @property
    def gpu(self) -> bool:
        return self.flavor == "docker" and not self.hardware.startswith("cpu-")


def files(spec: SpaceSpec) -> dict[str, bytes]:
    """Path and content of every file that a deploy sends.

    Raises:
        DeployError: the code needs a package that a Space of this flavour lacks, or a recipe or the page is missing.
    """
    if spec.page is not None:
        return page_files(spec.page) | {"README.md": readme(spec).encode()}
    found = {"README.md": readme(spec).encode()}
    if spec.flavor == "gradio":
        found["app.py"] = (TEMPLATES / "app.py").read_bytes()
        found["requirements.txt"] = REQUIREMENTS.read_bytes()
        return found | {path: (PROJECT / path).read_bytes() for path in code("space.app")}
    if spec.flavor == "zerogpu":
        return found | _zerogpu_files(spec)
    dockerfile = "gpu.Dockerfile" if spec.gpu else "cpu.Dockerfile"
    found["Dockerfile"] = (TEMPLATES / "docker" / dockerfile).read_bytes()
    found["start.py"] = (TEMPLATES / "docker" / "start.py").read_bytes()
    if spec.personas:
        found["personas.yaml"] = spec.personas
    return found | {path: (PROJECT / path).read_bytes() for path in _docker_files(spec)}


def front_matter(spec: SpaceSpec) -> dict[str, Any]:
    """What the Hub reads at the top of README.md (https://huggingface.co/docs/hub/spaces-config-reference).

    Raises:
        DeployError: the description is too long.
    """
    if len(spec.description) > MAX_DESCRIPTION:
        raise DeployError(
            f"the description has {len(spec.description)} characters, the Hub takes {MAX_DESCRIPTION}: shorten it"
        )
    matter: dict[str, Any] = {"title": spec.title, "emoji": "🎭", "colorFrom": "red", "colorTo": "yellow"}
    matter |= _runs_on(spec)
    matter |= {"pinned": False, "license": spec.license, "short_description": spec.description}
    matter["tags"] = ["understudy", "lora", "arena", "human-preference"]
    if spec.models:
        matter["models"] = list(spec.models)
    if spec.dataset:
        matter["datasets"] = [spec.dataset]
    if spec.oauth:
        matter["hf_oauth"] = True
    return matter


def _runs_on(spec: SpaceSpec) -> dict[str, Any]:
    """The part of the front matter that depends on the flavour."""
    if spec.flavor == "static":
        return {"sdk": "static", "app_file": "index.html", "custom_headers": dict(ISOLATION)}
    if spec.flavor == "docker":
        suggested = spec.hardware or "l4x1"
        docker = {"sdk": "docker", "app_port": PORT, "suggested_hardware": suggested}
        return docker | {"startup_duration_timeout": "1h"}
    python = PYTHON[spec.flavor]
    found = {"sdk": "gradio", "sdk_version": gradio_pin(), "python_version": python, "app_file": "app.py"}
    if spec.flavor == "zerogpu":
        found |= {"suggested_hardware": ZEROGPU, "startup_duration_timeout": "1h"}
        found |= {"preload_from_hub": [spec.base]} if "/" in spec.base else {}
    return found


def readme(spec: SpaceSpec, text: str = "") -> str:
    """The Space's README.md: front matter, and `text` or a page for people who open its files."""
    matter = yaml.safe_dump(front_matter(spec), sort_keys=False, allow_unicode=True)
    if not text:
        about = (TEMPLATES / "README.md").read_text(encoding="utf-8")
        text = page_text(spec.page) if spec.page else f"{BADGES.format(repo=spec.repo)}\n{about}"
    return f"---\n{matter}---\n\n{text}"


def gradio_pin() -> str:
    """The version of Gradio that the project is tested with."""
    pins = REQUIREMENTS.read_text().splitlines()
    return next(pin.partition("==")[2] for pin in pins if pin.startswith("gradio["))


@cache
def code(*modules: str, packages: tuple[str, ...] = GRADIO_PACKAGES) -> tuple[str, ...]:
    """Paths of the project's files that `modules` import, directly or not, at start or later, sorted.

    `packages` are those that they may come from.

    Raises:
        DeployError: one of them needs a package of the project that no Gradio Space has.
    """
    waiting, seen = list(modules), set[str]()
    while waiting:
        name = waiting.pop()
        if name in seen or (path := _source(name)) is None:
            continue
        if name.partition(".")[0] not in packages:
            raise DeployError(f"{name} cannot be part of a Gradio Space; it has {', '.join(packages)}")
        seen.add(name)
        waiting.extend(_imports(path))
        waiting.append(name.rpartition(".")[0])
    paths = {_relative(path) for name in seen if (path := _source(name))}
    for name in seen & DATA_FILES.keys():
        paths |= {_relative(path) for pattern in DATA_FILES[name] for path in PROJECT.glob(pattern)}
    return tuple(sorted(paths))


def _source(module: str) -> Path | None:
    """The file of a module of the project; None for any other."""
    if module.partition(".")[0] not in DOCKER_PACKAGES:
        return None
    stem = PROJECT.joinpath(*module.split("."))
    return next((path for path in (stem.with_suffix(".py"), stem / "__init__.py") if path.is_file()), None)


def _imports(path: Path) -> Iterator[str]:
    """Every module that a file imports, also in functions, but not for type checkers only."""
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


def _zerogpu_files(spec: SpaceSpec) -> dict[str, bytes]:
    """The app, its code with the validation of adapters, what it installs, and what it follows."""
    app = TEMPLATES / "zerogpu.py"
    paths = list(code(*_imports(app), packages=ZEROGPU_PACKAGES))
    if spec.base == "tiny":
        paths += [_relative(path) for path in (PROJECT / "understudy/bases/tiny").iterdir() if path.is_file()]
    found = {path: (PROJECT / path).read_bytes() for path in paths}
    found |= {"app.py": app.read_bytes(), "personas.yaml": spec.personas}
    found["requirements.txt"] = REQUIREMENTS.read_bytes() + ZEROGPU_REQUIREMENTS.read_bytes()
    return found


def _docker_files(spec: SpaceSpec) -> list[str]:
    """Whole packages, what they install from, and the named recipes."""
    variant = "gpu" if spec.gpu else "cpu"
    paths = [PROJECT / "pyproject.toml"]
    paths += [PROJECT / "requirements" / f"{name}.txt" for name in (variant, "base")]
    if not spec.gpu:
        paths.append(PROJECT / "requirements" / "overrides-cpu.txt")
    for package in DOCKER_PACKAGES:
        paths += [path for path in (PROJECT / package).rglob("*") if path.is_file() and "__pycache__" not in path.parts]
    for name in spec.recipes:
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
