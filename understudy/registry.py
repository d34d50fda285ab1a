"""The registry: which revisions there are, which one each persona shows, and everything that happened."""

import re
from datetime import datetime
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict
from sqlalchemy import Engine, select
from sqlalchemy.orm import Session

from understudy.adapters import read_config, short, store_adapter
from understudy.database import open_database
from understudy.errors import AdapterError, NotFoundError
from understudy.recipes import NAME
from understudy.settings import Settings
from understudy.tables import EventRow, PersonaRow, RevisionRow, now


class Revision(BaseModel):
    """One immutable adapter of a persona."""

    model_config = ConfigDict(frozen=True, from_attributes=True)

    persona: str
    id: str
    base: str
    base_revision: str | None
    rank: int
    size: int
    source: str
    created_at: datetime

    @property
    def served_name(self) -> str:
        """The name under which the engine knows it: a new name for every revision, never used again."""
        return f"{self.persona}@{short(self.id)}"


class Persona(BaseModel):
    """A public name."""

    model_config = ConfigDict(frozen=True, from_attributes=True)

    name: str
    live: str | None
    candidate: str | None = None
    """The revision on trial."""
    share: float = 0.0
    """Share of users that the revision on trial answers."""
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


class Registry:
    """Reads and writes the registry; every method is one transaction."""

    def __init__(self, engine: Engine, store_dir: Path) -> None:
        self.engine = engine
        self.store_dir = store_dir

    def push(self, persona: str, folder: Path, *, card: dict[str, Any] | None = None, actor: str) -> Revision:
        """Stores the adapter in `folder` as a revision of `persona`. Pushing the same content again is harmless.

        Raises:
            AdapterError: the folder is no adapter, or the persona's name cannot be one.
        """
        if not re.fullmatch(NAME, persona) or persona == "base":
            raise AdapterError(f"{persona!r} cannot be a persona's name: use a-z, 0-9 and -, and not 'base'")
        config = read_config(folder)
        rank = config.get("r")
        if not isinstance(rank, int) or rank < 1:
            raise AdapterError(f"{folder}: adapter_config.json has rank r = {rank!r}; a LoRA rank is 1 or more")
        revision, path = store_adapter(folder, self.store_dir)
        with Session(self.engine) as session, session.begin():
            row = session.get(RevisionRow, (persona, revision))
            if row is None:
                base = str(config.get("base_model_name_or_path") or "")
                size = sum(p.stat().st_size for p in path.glob("*.safetensors"))
                row = RevisionRow(
                    persona=persona,
                    id=revision,
                    base=base,
                    base_revision=config.get("revision"),
                    rank=rank,
                    size=size,
                    source=folder.name,
                )
                session.add(row)
                session.add(EventRow(actor=actor, persona=persona, revision=revision, action="push"))
            known = session.get(PersonaRow, persona)
            if known is None:
                session.add(PersonaRow(name=persona, live=None, card=card or {}))
            elif card and known.card != card:
                known.card, known.updated_at = card, now()
            session.flush()
            session.refresh(row)
            return Revision.model_validate(row)

    def revision(self, persona: str, prefix: str = "") -> Revision:
        """The newest revision of `persona` whose id begins with `prefix`.

        Raises:
            NotFoundError: there is none, or `prefix` fits several.
        """
        rows = self.revisions(persona)
        fitting = [r for r in rows if r.id.startswith(prefix)]
        if not fitting:
            known = ", ".join(short(r.id) for r in rows) or "none"
            raise NotFoundError(f"{persona} has no revision {prefix or 'yet'}; revisions there are: {known}")
        if prefix and len(fitting) > 1:
            raise NotFoundError(f"{persona}: {prefix} fits {len(fitting)} revisions; give more digits")
        return fitting[0]

    def revisions(self, persona: str) -> list[Revision]:
        """Every revision of `persona`, newest first; empty when there is none."""
        with Session(self.engine) as session:
            query = select(RevisionRow).where(RevisionRow.persona == persona)
            return [Revision.model_validate(r) for r in session.scalars(query.order_by(RevisionRow.created_at.desc()))]

    def path(self, revision: Revision) -> Path:
        """The folder of that revision in the store.

        Raises:
            NotFoundError: its files are gone.
        """
        folder = self.store_dir / revision.id
        if not folder.is_dir():
            raise NotFoundError(f"{revision.served_name} is registered, but its files are gone from {folder}")
        return folder

    def personas(self) -> list[Persona]:
        """Every persona, by name."""
        with Session(self.engine) as session:
            rows = session.scalars(select(PersonaRow).order_by(PersonaRow.name))
            return [Persona.model_validate(row) for row in rows]

    def persona(self, name: str) -> Persona:
        """The persona of that name. Raises NotFoundError, listing those there are."""
        with Session(self.engine) as session:
            row = session.get(PersonaRow, name)
            if row is not None:
                return Persona.model_validate(row)
        known = ", ".join(p.name for p in self.personas()) or "none yet; train one with `understudy train RECIPE`"
        raise NotFoundError(f"no persona {name!r}; personas there are: {known}")

    def set_live(self, revision: Revision, *, actor: str, action: str, detail: dict[str, Any]) -> None:
        """Points the persona at `revision`, ends any trial, and writes the event, in one transaction."""
        with Session(self.engine) as session, session.begin():
            row = session.get_one(PersonaRow, revision.persona)
            row.live, row.candidate, row.share, row.updated_at = revision.id, None, 0.0, now()
            session.add(self._event(revision, actor, action, detail))

    def set_trial(self, revision: Revision, share: float, *, actor: str, detail: dict[str, Any]) -> None:
        """Notes that `share` of the persona's users get `revision` on trial, and writes the event."""
        with Session(self.engine) as session, session.begin():
            row = session.get_one(PersonaRow, revision.persona)
            row.candidate, row.share, row.updated_at = revision.id, share, now()
            session.add(self._event(revision, actor, "canary", {"share": share, **detail}))

    def end_trial(self, revision: Revision, *, actor: str, detail: dict[str, Any]) -> None:
        """Withdraws the revision on trial; what is live stays so. The event says why."""
        with Session(self.engine) as session, session.begin():
            row = session.get_one(PersonaRow, revision.persona)
            row.candidate, row.share, row.updated_at = None, 0.0, now()
            session.add(self._event(revision, actor, "withdraw", detail))

    def record(self, revision: Revision, *, actor: str, action: str, detail: dict[str, Any]) -> None:
        """Writes an event that changes no name, such as a refusal."""
        with Session(self.engine) as session, session.begin():
            session.add(self._event(revision, actor, action, detail))

    def history(self, persona: str) -> list[Event]:
        """What happened to a persona, newest first."""
        with Session(self.engine) as session:
            query = select(EventRow).where(EventRow.persona == persona).order_by(EventRow.id.desc())
            return [Event.model_validate(row) for row in session.scalars(query)]

    @staticmethod
    def _event(revision: Revision, actor: str, action: str, detail: dict[str, Any]) -> EventRow:
        return EventRow(actor=actor, persona=revision.persona, revision=revision.id, action=action, detail=detail)


def open_registry(settings: Settings) -> Registry:
    """The registry of these settings. Raises DatabaseError when the database cannot be opened."""
    return Registry(open_database(settings.database), settings.store_dir)
