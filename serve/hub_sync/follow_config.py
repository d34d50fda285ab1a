"""Reads personas.yaml: which persona follows which repository of the Hub. It is read again when it changes.

email-copy:
  repo: ann/email-copy
  follow: v*          # latest (the default), a pattern of tags, or one tag or commit
  canary: 10%         # the default is straight live
"""

import re
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, field_validator

from understudy.config.recipe import NAME, Golden, Sampling
from understudy.config.validation import checked
from understudy.config.yaml_text import YamlText, read_yaml
from understudy.errors import ConfigError
from understudy.registry.hub import LATEST, REPO
from understudy.registry.personas import share_of

MAX_BYTES = 1_000_000
"""Largest file that is read."""

CARD = ("title", "voice", "prompts", "sampling", "golden")


class Follow(BaseModel):
    """The repository and revisions that one persona follows."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    repo: str
    """`organisation/name` on the Hub."""
    follow: str = Field(default=LATEST, min_length=1, max_length=100)
    """`latest` (the head of main), a pattern of tags such as `v*`, or one tag or commit that is never left."""
    canary: float = 1.0
    """Share of the users who get a new revision on trial first; 1 means that it goes live at once."""
    title: str | None = None
    voice: str | None = None
    prompts: list[str] | None = Field(default=None, max_length=50)
    sampling: Sampling | None = None
    golden: list[Golden] | None = Field(default=None, max_length=8)

    @field_validator("repo")
    @classmethod
    def _is_repo(cls, repo: str) -> str:
        if not REPO.fullmatch(repo):
            raise ValueError("a repository of the Hub looks like organisation/name")
        return repo

    @field_validator("follow", mode="before")
    @classmethod
    def _as_text(cls, follow: Any) -> Any:
        """A tag such as 2 or 1.0 is a number to YAML, and 1.10 would be 1.1."""
        if isinstance(follow, (int, float)):
            raise ValueError("put quotes around a tag that looks like a number")
        return follow

    @field_validator("canary", mode="before")
    @classmethod
    def _as_share(cls, canary: Any) -> float:
        return share_of(str(canary))

    def card(self, known: dict[str, Any]) -> dict[str, Any]:
        """The persona's card: what is set here, over `known`."""
        return known | self.model_dump(include=set(CARD), exclude_none=True)

    @property
    def actor(self) -> str:
        """The actor of its publishes, in the history."""
        return f"hub:{self.repo}"


def read_following(path: Path) -> dict[str, Follow]:
    """Reads what each persona follows.

    Raises:
        ConfigError: the file cannot be read, or says something that we cannot do; one line says what.
    """
    try:
        with path.open("rb") as file:
            raw = file.read(MAX_BYTES + 1)
        if len(raw) > MAX_BYTES:
            raise ConfigError(f"{path}: it has more than {MAX_BYTES:,} bytes")
        written = read_yaml(raw.decode("utf-8"), str(path))
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read ({error.strerror}); see UNDERSTUDY_PERSONAS_FILE") from None
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path}: not YAML: {error}; save the file as UTF-8") from None
    data = written.value
    if data is None:
        return {}
    if not isinstance(data, dict):
        raise ConfigError(f"{path}: found {type(data).__name__}; write `persona: {{repo: organisation/name}}`")
    return {_name(name, path): _follow(name, what, path, written) for name, what in data.items()}


def _name(name: Any, path: Path) -> str:
    if not isinstance(name, str) or not re.fullmatch(NAME, name) or name == "base":
        raise ConfigError(f"{path}: {name!r} cannot be a persona's name: use a-z, 0-9 and -, and not 'base'")
    return name


def _follow(name: str, what: Any, path: Path, written: YamlText) -> Follow:
    if not isinstance(what, dict):
        raise ConfigError(f"{path}: {name}: found {type(what).__name__}; write `repo: organisation/name` below it")
    places = {place[1:]: found for place, found in written.places.items() if place[:1] == (name,)}
    return checked(Follow, what, f"{path}: {name}", ConfigError, places=places)


class FollowingFile:
    """The file, read again when it changes; an invalid edit changes nothing."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.problem = ""
        """Why the current file is not used; empty when it is."""
        self._stamp: tuple[int, ...] | None = None

    def changed(self) -> dict[str, Follow] | None:
        """Returns the file's content if it changed and is valid. Blocks on the disk."""
        stamp = self._stat()
        if stamp == self._stamp:
            return None
        self._stamp = stamp
        try:
            following = read_following(self.path)
        except ConfigError as error:
            self.problem = str(error)
            return None
        self.problem = ""
        return following

    def _stat(self) -> tuple[int, ...]:
        try:
            stat = self.path.stat()
        except OSError:
            return ()
        return stat.st_mtime_ns, stat.st_size, stat.st_ino
