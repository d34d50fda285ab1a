"""Recipes: how a persona is made (`recipes/<name>/recipe.yaml`), checked key by key."""

import re
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, field_validator

from understudy.config.data_source import DataSource
from understudy.config.thresholds import Thresholds
from understudy.config.training import Training
from understudy.config.validation import checked
from understudy.config.yaml_text import read_yaml
from understudy.errors import ConfigError, NotFoundError

FEW_ROWS = 8
ESCAPE_OR_SET = re.compile(r"\\.|\[\^?\]?(?:\\.|[^\]\\])*\]")
"""What stands for one character in a regular expression: an escape, or a set in brackets."""
TEXTS = (("title",), ("voice",), ("prompts",), ("golden",))
"""Keys whose values are read by people or models, where a `#` is rather text than a comment."""

NAME = r"^[a-z0-9][a-z0-9-]{0,62}$"


class Sampling(BaseModel):
    """How a persona is sampled unless the caller says otherwise."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    temperature: float | None = Field(default=None, ge=0, le=2)
    """Unset: what the base's own generation_config.json says."""
    max_tokens: int = Field(default=256, ge=1)


class Golden(BaseModel):
    """A prompt and what its answer must show: the voice, not the words."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    prompt: str = Field(min_length=1)
    expect: str = Field(min_length=1, max_length=200)
    """A regular expression, searched in the answer."""

    @field_validator("expect")
    @classmethod
    def _searchable(cls, expect: str) -> str:
        try:
            re.compile(expect)
        except (re.error, RecursionError, OverflowError) as error:
            raise ValueError(f"not a regular expression ({error})") from None
        plain = ESCAPE_OR_SET.sub("x", expect)
        if re.search(r"\)[*+{]", plain) or len(re.findall(r"[*+]|\{\d*,\d*\}", plain)) > 2:
            raise ValueError("it may search for very long: repeat no group, and use * + {m,n} at most twice")
        return expect


class Recipe(BaseModel):
    """One persona's making: words for people, data, method, prompts."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str = Field(pattern=NAME)
    title: str
    """What people see."""
    voice: str
    """One sentence that says how this persona speaks."""
    base: str | None = None
    """Base it is made for: used where the Hub has it and it fits, unless `--base` or UNDERSTUDY_BASE say otherwise."""
    chat_template: str | None = None
    """A file in the recipe's folder for a `base` that has no chat template of its own."""
    examples: str = "examples.jsonl"
    heldout: str = "heldout.jsonl"
    data: DataSource | None = None
    """Rows that are not shipped, for every base but those that come with Understudy, which use the two files."""
    training: Training = Training()
    """Settings on any base; what is left out follows from base and rows."""
    push_to: str | None = Field(default=None, pattern=r"^(registry|hub:[^/\s]+/[^/\s]+)$")
    """Where `understudy push` sends it: `hub:ORG/REPO`, or `registry` (this machine), which is the default."""
    demo: bool = True
    """Whether `understudy demo` trains it before it starts."""
    sampling: Sampling = Sampling()
    prompts: list[str] = Field(min_length=1)
    """Prompts to suggest to people and to probe a new revision with."""
    proof: Thresholds = Thresholds()
    """What an adapter must show on the held-out rows to pass `understudy verify`."""
    golden: list[Golden] = Field(default=[], max_length=8)
    """What a new revision must still do about as well as the live one before it takes its place."""
    folder: Path = Field(exclude=True)


def recipe_names(recipes_dir: Path) -> list[str]:
    """The recipes there are, sorted."""
    return sorted(path.parent.name for path in recipes_dir.glob("*/recipe.yaml"))


def load_recipe(name: str, recipes_dir: Path) -> Recipe:
    """Reads and checks a recipe, by name in `recipes_dir` or by the path of its folder.

    Raises:
        NotFoundError: there is no such recipe; the message lists those there are.
        ConfigError: recipe.yaml is malformed; an unknown key is named with the nearest known one.
    """
    folder = Path(name) if "/" in name else recipes_dir / name
    path = folder / "recipe.yaml"
    if not path.is_file():
        known = ", ".join(recipe_names(recipes_dir)) or "none"
        raise NotFoundError(f"no recipe {name!r}: {path} is not there; recipes there are: {known}")
    try:
        written = read_yaml(path.read_text(encoding="utf-8"), str(path))
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path}: not YAML: {error}; save the file as UTF-8") from None
    data = written.value
    if not isinstance(data, dict):
        raise ConfigError(f"{path}: found {type(data).__name__}; a recipe is a mapping such as `title: ...`")
    if "embedded" in data:
        raise ConfigError(
            f"{path}: embedded: this section is gone; leave learning_rate, epochs, rank and batch_size out of "
            "`training:`, and they follow from the base"
        )
    for place, found in written.cut.items():
        if place[:1] in TEXTS:
            raise ConfigError(f"{path}: {'.'.join(place)}: {found}; put quotes around the text, or a space after the #")
    values = {"name": folder.resolve().name, **data, "folder": folder}
    return checked(Recipe, values, str(path), ConfigError, places=written.places)
