"""Revisions: which one a name means, where its files are, and how a new one is stored."""

from pathlib import Path
from typing import Any

from sqlalchemy import ColumnElement, Engine, and_, func, select
from sqlalchemy.orm import Session

from understudy.errors import AdapterError, NotFoundError
from understudy.registry.adapters import read_config, short, store_adapter, store_snapshot
from understudy.registry.personas import NAMED, listed, require_name, set_card
from understudy.registry.records import Revision
from understudy.registry.tables import EventRow, RevisionRow

MAX_RANK = 2**20
"""Upper bound of a LoRA rank; it must also fit the database's integer."""


class RevisionStore:
    """Part of `Registry`: revisions."""

    engine: Engine
    store_dir: Path

    def revision(self, persona: str, prefix: str = "") -> Revision:
        """Return the newest revision of `persona` whose id begins with `prefix`.

        Raises:
            NotFoundError: there is none, or `prefix` fits several.
        """
        of_persona = select(RevisionRow).where(RevisionRow.persona == persona)
        fitting = of_persona.where(_begins_with(prefix)) if prefix else of_persona
        newest_first = RevisionRow.created_at.desc()
        with Session(self.engine) as session:
            rows = session.scalars(fitting.order_by(newest_first).limit(2 if prefix else 1)).all()
            if len(rows) == 1 or (rows and not prefix):
                return Revision.model_validate(rows[0])
            if rows:
                fit = session.scalar(select(func.count()).select_from(fitting.subquery()))
                raise NotFoundError(f"{persona}: {prefix} fits {fit} revisions; give more digits")
            newest = session.scalars(of_persona.order_by(newest_first).limit(NAMED + 1)).all()
        known = listed([short(row.id) for row in newest]) or "none"
        raise NotFoundError(f"{persona} has no revision {prefix or 'yet'}; revisions there are: {known}")

    def revisions(self, persona: str) -> list[Revision]:
        """Return every revision of `persona`, newest first; empty when there is none."""
        with Session(self.engine) as session:
            query = select(RevisionRow).where(RevisionRow.persona == persona)
            return [Revision.model_validate(r) for r in session.scalars(query.order_by(RevisionRow.created_at.desc()))]

    def newest(self) -> dict[str, Revision]:
        """Return the newest revision of each persona that has one."""
        last = select(RevisionRow.persona, func.max(RevisionRow.created_at).label("at")).group_by(RevisionRow.persona)
        newest = last.subquery()
        same = and_(RevisionRow.persona == newest.c.persona, RevisionRow.created_at == newest.c.at)
        with Session(self.engine) as session:
            rows = session.scalars(select(RevisionRow).join(newest, same))
            return {row.persona: Revision.model_validate(row) for row in rows}

    def folder(self, revision: Revision) -> Path:
        """Return where the files of that revision are, or would be."""
        return self.store_dir / revision.id

    def path(self, revision: Revision) -> Path:
        """Return the folder of that revision in the store.

        Raises:
            NotFoundError: its files are gone.
        """
        folder = self.folder(revision)
        if not folder.is_dir():
            raise NotFoundError(f"{revision.served_name} is registered, but its files are gone from {folder}")
        return folder

    def push(self, persona: str, folder: Path, *, card: dict[str, Any] | None = None, actor: str) -> Revision:
        """Store the adapter in `folder` as a revision of `persona`. Pushing the same content again is harmless.

        Raises:
            AdapterError: the folder is no adapter, or the persona's name cannot be one.
        """
        require_name(persona)
        config = _read_config(folder)
        revision, path = store_adapter(folder, self.store_dir)
        return self._register(persona, revision, path, config, folder.name, card, actor)

    def add_hub_revision(
        self, persona: str, snapshot: Path, commit: str, *, source: str, card: dict[str, Any] | None = None, actor: str
    ) -> Revision:
        """Store a commit that the Hub's client has downloaded as a revision of `persona`, whose id is the commit.

        Raises:
            AdapterError: as `push`, or `commit` is not one.
        """
        require_name(persona)
        config = _read_config(snapshot)
        path = store_snapshot(snapshot, commit, self.store_dir)
        return self._register(persona, commit, path, config, source, card, actor)

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
            set_card(session, persona, card)
            session.flush()
            session.refresh(row)
            return Revision.model_validate(row)


def _begins_with(prefix: str) -> ColumnElement[bool]:
    """Ids that begin with `prefix`: a range that the primary key answers; ids are hexadecimal, and g follows f."""
    column = RevisionRow.id
    return and_(column >= prefix, column < f"{prefix}g", column.startswith(prefix, autoescape=True))


def _read_config(folder: Path) -> dict[str, Any]:
    """Read the adapter's configuration. Raises AdapterError, also when its rank is none."""
    config = read_config(folder)
    rank = config.get("r")
    if not isinstance(rank, int) or not 1 <= rank <= MAX_RANK:
        raise AdapterError(f"{folder}: adapter_config.json has rank r = {rank!r:.80}; a LoRA rank is 1 or more")
    return config
