"""What was last done about the repositories of the Hub that personas follow."""

from sqlalchemy import Engine
from sqlalchemy.orm import Session

from understudy.registry.records import HandledCommit
from understudy.registry.tables import FollowRow, now


class FollowStore:
    """Part of `Registry`: commits of followed repositories."""

    engine: Engine

    def handled(self, persona: str) -> HandledCommit | None:
        """Return the commit that was handled last for `persona`; None when there was none."""
        with Session(self.engine) as session:
            row = session.get(FollowRow, persona)
            return HandledCommit.model_validate(row) if row else None

    def set_handled(self, persona: str, handled: HandledCommit) -> None:
        """Note that a commit was published or refused; it is not tried again."""
        with Session(self.engine) as session, session.begin():
            session.merge(FollowRow(persona=persona, at=now(), **handled.model_dump()))
