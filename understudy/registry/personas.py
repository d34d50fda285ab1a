"""Personas: public names, which revision each one shows or tries, and their cards."""

import math
import re
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import Engine, and_, func, select, update
from sqlalchemy.orm import Session

from understudy.config.recipe import NAME
from understudy.errors import AdapterError, NotFoundError
from understudy.registry.events import event_row, events_of
from understudy.registry.records import Persona, Revision
from understudy.registry.tables import EventRow, PersonaRow, RevisionRow, now

NAMED = 12
"""Most names, or revisions, that a message lists."""

NAME_CHANGES = ("publish", "promote", "rollback")
"""Actions after which a persona shows another revision."""


class PersonaStore:
    """Part of `Registry`: personas."""

    engine: Engine

    def persona(self, name: str) -> Persona:
        """Return the persona of that name. Raises NotFoundError, which lists those there are."""
        with Session(self.engine) as session:
            row = session.get(PersonaRow, name)
            if row is not None:
                return Persona.model_validate(row)
            names = session.scalars(select(PersonaRow.name).order_by(PersonaRow.name).limit(NAMED + 1)).all()
        known = listed(names) or "none yet; train one with `understudy train RECIPE`"
        raise NotFoundError(f"no persona {name!r}; personas there are: {known}")

    def personas(self) -> list[Persona]:
        """Return every persona, by name."""
        with Session(self.engine) as session:
            rows = session.scalars(select(PersonaRow).order_by(PersonaRow.name))
            return [Persona.model_validate(row) for row in rows]

    def count(self) -> int:
        """Return the number of personas."""
        with Session(self.engine) as session:
            return session.scalar(select(func.count()).select_from(PersonaRow)) or 0

    def live(self) -> list[tuple[Persona, Revision]]:
        """Return every persona that has a live revision, with it: trials first, then the latest used or changed."""
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

    def previous(self, persona: str) -> str | None:
        """Return the revision that was live before the present one; None if there was none. Raises as `persona`."""
        live = self.persona(persona).live
        query = events_of(persona).where(EventRow.revision == live, EventRow.action.in_(NAME_CHANGES))
        with Session(self.engine) as session:
            for row in session.scalars(query.execution_options(yield_per=NAMED)):
                if row.detail.get("previous"):
                    return row.detail["previous"]
        return None

    def ensure_persona(self, persona: str, card: dict[str, Any] | None = None) -> None:
        """Create the persona if there is none, and set its card if one is given.

        Raises:
            AdapterError: the name cannot be a persona's.
        """
        require_name(persona)
        with Session(self.engine) as session, session.begin():
            set_card(session, persona, card)

    def used(self, when: Mapping[str, datetime]) -> None:
        """Note when personas were last asked; after a restart the latest are loaded first."""
        rows = [{"name": name, "used_at": at} for name, at in when.items()]
        with Session(self.engine) as session, session.begin():
            if rows:
                session.execute(update(PersonaRow), rows)

    def set_live(self, revision: Revision, *, actor: str, action: str, detail: dict[str, Any]) -> None:
        """Point the persona at `revision`, end any trial, and write the event, in one transaction."""
        with Session(self.engine) as session, session.begin():
            row = session.get_one(PersonaRow, revision.persona)
            row.live, row.candidate, row.share, row.updated_at = revision.id, None, 0.0, now()
            session.add(event_row(revision, actor, action, detail))

    def set_trial(self, revision: Revision, share: float, *, actor: str, detail: dict[str, Any]) -> None:
        """Put `revision` on trial for `share` of the persona's users, and write the event."""
        with Session(self.engine) as session, session.begin():
            row = session.get_one(PersonaRow, revision.persona)
            row.candidate, row.share, row.updated_at = revision.id, share, now()
            session.add(event_row(revision, actor, "canary", {"share": share, **detail}))

    def end_trial(self, revision: Revision, *, actor: str, detail: dict[str, Any]) -> None:
        """Withdraw the revision on trial; what is live stays live. The event says why."""
        with Session(self.engine) as session, session.begin():
            row = session.get_one(PersonaRow, revision.persona)
            row.candidate, row.share, row.updated_at = None, 0.0, now()
            session.add(event_row(revision, actor, "withdraw", detail))


def require_name(persona: str) -> None:
    """Raises AdapterError when `persona` cannot be a persona's name."""
    if not re.fullmatch(NAME, persona) or persona == "base":
        raise AdapterError(f"{persona!r} cannot be a persona's name: use a-z, 0-9 and -, and not 'base'")


def set_card(session: Session, persona: str, card: dict[str, Any] | None) -> None:
    """Create the persona if there is none, and set its card if one is given, in the caller's transaction."""
    known = session.get(PersonaRow, persona)
    if known is None:
        session.add(PersonaRow(name=persona, live=None, card=card or {}))
    elif card and known.card != card:
        known.card, known.updated_at = card, now()


def listed(names: Sequence[str]) -> str:
    """The first NAMED names, and a sign that there are more."""
    return ", ".join(names[:NAMED]) + (", …" if len(names) > NAMED else "")


def share_of(text: str) -> float:
    """Parse a share such as `10%` or `0.1` as a number above 0 and up to 1. Raises ValueError."""
    number, percent, rest = text.strip().partition("%")
    try:
        share = float(number) / (100 if percent else 1)
    except ValueError:
        share = math.nan
    if rest or not 0 < share <= 1:
        raise ValueError("give a share of the users such as 10%")
    return share
