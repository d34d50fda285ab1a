"""The registry: which revisions there are, which one each persona shows, and everything that happened."""

import math
import re
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict
from sqlalchemy import ColumnElement, Engine, Select, and_, func, select, update
from sqlalchemy.orm import Session

from understudy.config.recipe import NAME
from understudy.config.settings import Settings
from understudy.errors import AdapterError, NotFoundError
from understudy.registry.adapters import read_config, short, store_adapter, store_snapshot
from understudy.registry.database import open_database
from understudy.registry.tables import EventRow, FollowRow, PersonaRow, RevisionRow, now

NAMED = 12
"""Most names, or revisions, that a message lists."""

NAME_CHANGES = ("publish", "promote", "rollback")
"""Actions after which a persona shows another revision."""

MAX_RANK = 2**20
"""Nothing that is larger is a rank; the database's numbers end, too."""


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


class HandledCommit(BaseModel):
    """A commit of a followed repository that was published or refused."""

    model_config = ConfigDict(frozen=True, from_attributes=True)

    repo: str
    wanted: str
    """The policy that led to it, such as `latest` or `v1`."""
    commit: str


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
        _require_name(persona)
        config = _config(folder)
        revision, path = store_adapter(folder, self.store_dir)
        return self._register(persona, revision, path, config, folder.name, card, actor)

    def add_hub_revision(
        self, persona: str, snapshot: Path, commit: str, *, source: str, card: dict[str, Any] | None = None, actor: str
    ) -> Revision:
        """Stores a commit that the Hub's client has downloaded as a revision of `persona`, whose id is the commit.

        Raises:
            AdapterError: as `push`, or `commit` is none.
        """
        _require_name(persona)
        config = _config(snapshot)
        path = store_snapshot(snapshot, commit, self.store_dir)
        return self._register(persona, commit, path, config, source, card, actor)

    def ensure_persona(self, persona: str, card: dict[str, Any] | None = None) -> None:
        """Makes the persona if there is none, and its card what is given. Raises AdapterError as `push`."""
        _require_name(persona)
        with Session(self.engine) as session, session.begin():
            _set_card(session, persona, card)

    def _register(
        self,
        persona: str,
        revision: str,
        path: Path,
        config: dict[str, Any],
        source: str,
        card: dict[str, Any] | None,
        actor: str,
    ) -> Revision:
        with Session(self.engine) as session, session.begin():
            row = session.get(RevisionRow, (persona, revision))
            if row is None:
                row = RevisionRow(
                    persona=persona,
                    id=revision,
                    base=str(config.get("base_model_name_or_path") or "")[:255],
                    base_revision=str(config.get("revision") or "")[:64] or None,
                    rank=config["r"],
                    size=sum(p.stat().st_size for p in path.glob("*.safetensors")),
                    source=source,
                )
                session.add(row)
                detail = {"source": source}
                session.add(EventRow(actor=actor, persona=persona, revision=revision, action="push", detail=detail))
            _set_card(session, persona, card)
            session.flush()
            session.refresh(row)
            return Revision.model_validate(row)

    def revision(self, persona: str, prefix: str = "") -> Revision:
        """The newest revision of `persona` whose id begins with `prefix`.

        Raises:
            NotFoundError: there is none, or `prefix` fits several.
        """
        of_persona = select(RevisionRow).where(RevisionRow.persona == persona)
        fitting = of_persona.where(_begins(prefix)) if prefix else of_persona
        newest_first = RevisionRow.created_at.desc()
        with Session(self.engine) as session:
            rows = session.scalars(fitting.order_by(newest_first).limit(2 if prefix else 1)).all()
            if len(rows) == 1 or (rows and not prefix):
                return Revision.model_validate(rows[0])
            if rows:
                fit = session.scalar(select(func.count()).select_from(fitting.subquery()))
                raise NotFoundError(f"{persona}: {prefix} fits {fit} revisions; give more digits")
            newest = session.scalars(of_persona.order_by(newest_first).limit(NAMED + 1)).all()
        known = _listed([short(row.id) for row in newest]) or "none"
        raise NotFoundError(f"{persona} has no revision {prefix or 'yet'}; revisions there are: {known}")

    def revisions(self, persona: str) -> list[Revision]:
        """Every revision of `persona`, newest first; empty when there is none."""
        with Session(self.engine) as session:
            query = select(RevisionRow).where(RevisionRow.persona == persona)
            return [Revision.model_validate(r) for r in session.scalars(query.order_by(RevisionRow.created_at.desc()))]

    def newest(self) -> dict[str, Revision]:
        """The newest revision of each persona that has one."""
        last = select(RevisionRow.persona, func.max(RevisionRow.created_at).label("at")).group_by(RevisionRow.persona)
        newest = last.subquery()
        same = and_(RevisionRow.persona == newest.c.persona, RevisionRow.created_at == newest.c.at)
        with Session(self.engine) as session:
            rows = session.scalars(select(RevisionRow).join(newest, same))
            return {row.persona: Revision.model_validate(row) for row in rows}

    def live(self) -> list[tuple[Persona, Revision]]:
        """Every persona that shows something, and what: those with a trial first, then the latest used or changed."""
        query = (
            select(PersonaRow, RevisionRow)
            .join(RevisionRow, and_(RevisionRow.persona == PersonaRow.name, RevisionRow.id == PersonaRow.live))
            .order_by(
                PersonaRow.candidate.is_(None),
                func.coalesce(PersonaRow.used_at, PersonaRow.updated_at).desc(),
                PersonaRow.name,
            )
        )
        with Session(self.engine) as session:
            rows = session.execute(query).tuples()
            return [(Persona.model_validate(persona), Revision.model_validate(live)) for persona, live in rows]

    def used(self, when: Mapping[str, datetime]) -> None:
        """Notes when personas were last asked; after a restart the latest come on stage first."""
        rows = [{"name": name, "used_at": at} for name, at in when.items()]
        with Session(self.engine) as session, session.begin():
            if rows:
                session.execute(update(PersonaRow), rows)

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

    def count(self) -> int:
        """How many personas there are."""
        with Session(self.engine) as session:
            return session.scalar(select(func.count()).select_from(PersonaRow)) or 0

    def persona(self, name: str) -> Persona:
        """The persona of that name. Raises NotFoundError, listing those there are."""
        with Session(self.engine) as session:
            row = session.get(PersonaRow, name)
            if row is not None:
                return Persona.model_validate(row)
            names = session.scalars(select(PersonaRow.name).order_by(PersonaRow.name).limit(NAMED + 1)).all()
        known = _listed(names) or "none yet; train one with `understudy train RECIPE`"
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

    def note(self, persona: str, revision: str | None, *, actor: str, action: str, detail: dict[str, Any]) -> None:
        """Writes an event about something that is no registered revision, such as a repository that cannot be read."""
        with Session(self.engine) as session, session.begin():
            session.add(EventRow(actor=actor, persona=persona, revision=revision, action=action, detail=detail))

    def handled(self, persona: str) -> HandledCommit | None:
        """What was last done about the repository that `persona` follows."""
        with Session(self.engine) as session:
            row = session.get(FollowRow, persona)
            return HandledCommit.model_validate(row) if row else None

    def set_handled(self, persona: str, handled: HandledCommit) -> None:
        """Notes that a commit was published or refused; it is not tried again."""
        with Session(self.engine) as session, session.begin():
            session.merge(FollowRow(persona=persona, at=now(), **handled.model_dump()))

    def history(self, persona: str, *, limit: int | None = None) -> list[Event]:
        """What happened to a persona, newest first; with `limit` at most so many events."""
        with Session(self.engine) as session:
            return [Event.model_validate(row) for row in session.scalars(_events(persona).limit(limit))]

    def last(self, persona: str, revision: str, *actions: str) -> Event | None:
        """The newest event of that revision that is one of `actions`; None when there is none."""
        query = _events(persona).where(EventRow.revision == revision, EventRow.action.in_(actions)).limit(1)
        with Session(self.engine) as session:
            row = session.scalar(query)
            return Event.model_validate(row) if row else None

    def previous(self, persona: str) -> str | None:
        """What `persona` showed before what is live; None when there was nothing. Raises as `persona`."""
        live = self.persona(persona).live
        query = _events(persona).where(EventRow.revision == live, EventRow.action.in_(NAME_CHANGES))
        with Session(self.engine) as session:
            for row in session.scalars(query.execution_options(yield_per=NAMED)):
                if row.detail.get("previous"):
                    return row.detail["previous"]
        return None

    @staticmethod
    def _event(revision: Revision, actor: str, action: str, detail: dict[str, Any]) -> EventRow:
        return EventRow(actor=actor, persona=revision.persona, revision=revision.id, action=action, detail=detail)


def _begins(prefix: str) -> ColumnElement[bool]:
    """Ids that begin with `prefix`: a range that the primary key answers; ids are hexadecimal, and g follows f."""
    column = RevisionRow.id
    return and_(column >= prefix, column < f"{prefix}g", column.startswith(prefix, autoescape=True))


def _events(persona: str) -> Select[EventRow]:
    return select(EventRow).where(EventRow.persona == persona).order_by(EventRow.id.desc())


def _listed(names: Sequence[str]) -> str:
    """The first names, and that there are more."""
    return ", ".join(names[:NAMED]) + (", …" if len(names) > NAMED else "")


def share_of(text: str) -> float:
    """A share such as `10%` or `0.1`, as a number above 0 and up to 1. Raises ValueError."""
    number, percent, rest = text.strip().partition("%")
    try:
        share = float(number) / (100 if percent else 1)
    except ValueError:
        share = math.nan
    if rest or not 0 < share <= 1:
        raise ValueError("give a share of the users such as 10%")
    return share


def _require_name(persona: str) -> None:
    if not re.fullmatch(NAME, persona) or persona == "base":
        raise AdapterError(f"{persona!r} cannot be a persona's name: use a-z, 0-9 and -, and not 'base'")


def _config(folder: Path) -> dict[str, Any]:
    """The adapter's configuration, with a rank that is one."""
    config = read_config(folder)
    rank = config.get("r")
    if not isinstance(rank, int) or not 1 <= rank <= MAX_RANK:
        raise AdapterError(f"{folder}: adapter_config.json has rank r = {rank!r:.80}; a LoRA rank is 1 or more")
    return config


def _set_card(session: Session, persona: str, card: dict[str, Any] | None) -> None:
    known = session.get(PersonaRow, persona)
    if known is None:
        session.add(PersonaRow(name=persona, live=None, card=card or {}))
    elif card and known.card != card:
        known.card, known.updated_at = card, now()


def open_registry(settings: Settings) -> Registry:
    """The registry of these settings. Raises ConfigError when the database cannot be opened."""
    return Registry(open_database(settings.database), settings.store_dir)
