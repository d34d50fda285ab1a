"""The audit log: who did what to which revision, and how it ended."""

import getpass
from typing import Any

from sqlalchemy import Engine, Select, select
from sqlalchemy.orm import Session

from understudy.registry.records import Event, Revision
from understudy.registry.tables import EventRow


class EventLog:
    """Part of `Registry`: events."""

    engine: Engine

    def record(self, revision: Revision, *, actor: str, action: str, detail: dict[str, Any]) -> None:
        """Write an event that changes no name, such as a refusal."""
        with Session(self.engine) as session, session.begin():
            session.add(event_row(revision, actor, action, detail))

    def note(self, persona: str, revision: str | None, *, actor: str, action: str, detail: dict[str, Any]) -> None:
        """Write an event that is about no registered revision, such as a repository that cannot be read."""
        with Session(self.engine) as session, session.begin():
            session.add(EventRow(actor=actor, persona=persona, revision=revision, action=action, detail=detail))

    def history(self, persona: str, *, limit: int | None = None) -> list[Event]:
        """Return what happened to a persona, newest first; with `limit` at most so many events."""
        with Session(self.engine) as session:
            return [Event.model_validate(row) for row in session.scalars(events_of(persona).limit(limit))]

    def last(self, persona: str, revision: str, *actions: str) -> Event | None:
        """Return the newest event of that revision that is one of `actions`; None when there is none."""
        query = events_of(persona).where(EventRow.revision == revision, EventRow.action.in_(actions)).limit(1)
        with Session(self.engine) as session:
            row = session.scalar(query)
            return Event.model_validate(row) if row else None


def event_row(revision: Revision, actor: str, action: str, detail: dict[str, Any]) -> EventRow:
    """An event of a registered revision, to be added to the caller's transaction."""
    return EventRow(actor=actor, persona=revision.persona, revision=revision.id, action=action, detail=detail)


def events_of(persona: str) -> Select[EventRow]:
    """A query of a persona's events, newest first."""
    return select(EventRow).where(EventRow.persona == persona).order_by(EventRow.id.desc())


def actor() -> str:
    """Return the user who runs this process, at most 63 characters; `unknown` where there is none."""
    try:
        return getpass.getuser()[:63]
    except OSError:
        return "unknown"
