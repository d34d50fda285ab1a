"""Records of the registry, as its methods return them."""

from datetime import datetime
from typing import Any

from pydantic import BaseModel, ConfigDict

from understudy.registry.adapters import short


class Revision(BaseModel):
    """One immutable adapter of a persona."""

    model_config = ConfigDict(frozen=True, from_attributes=True)

    persona: str
    id: str
    base: str
    base_revision: str | None
    rank: int
    size: int
    """Bytes of the weights."""
    source: str
    created_at: datetime

    @property
    def served_name(self) -> str:
        """The name under which the engine knows it: a new name for every revision, never used again."""
        return f"{self.persona}@{short(self.id)}"


class Persona(BaseModel):
    """A public name and what it points at."""

    model_config = ConfigDict(frozen=True, from_attributes=True)

    name: str
    live: str | None
    candidate: str | None = None
    """The revision on trial."""
    share: float = 0.0
    """Share of users whom the revision on trial answers."""
    card: dict[str, Any]


class Event(BaseModel):
    """One line of the audit log."""

    model_config = ConfigDict(frozen=True, from_attributes=True)

    at: datetime
    actor: str
    persona: str
    revision: str | None
    action: str
    detail: dict[str, Any]


class HandledCommit(BaseModel):
    """A commit of a followed repository that was published or refused."""

    model_config = ConfigDict(frozen=True, from_attributes=True)

    repo: str
    wanted: str
    """The policy that led to it, such as `latest` or `v1`."""
    commit: str
