"""API keys: who may send requests, and how many. Only the SHA-256 of a key's secret is stored."""

import hashlib
import re
import secrets
from datetime import datetime
from typing import Literal, NamedTuple, get_args

from pydantic import BaseModel, ConfigDict
from sqlalchemy import Engine, select, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from understudy.config.settings import Settings
from understudy.errors import ConfigError, NotFoundError
from understudy.registry.database import open_database
from understudy.registry.tables import KeyRow, now

Kind = Literal["inference", "metrics", "admin"]
"""What a key gives access to: only its own kind, except that an admin may read metrics."""

PREFIX = "us-"
SECRET = re.compile(r"us-[0-9a-f]{8}-[A-Za-z0-9_-]{43}")
"""Every key reads like this: a prefix for secret scanners, the public id, 256 random bits."""

LARGEST = 2**31 - 1
"""Largest limit that the database holds."""

ATTEMPTS = 5
"""Attempts to draw an id that is not taken, from 2^32."""


class Key(BaseModel):
    """A key without its secret and its hash."""

    model_config = ConfigDict(frozen=True, from_attributes=True)

    id: str
    name: str
    kind: Kind
    requests_per_minute: int
    """0 means no limit, here and below."""
    tokens_per_minute: int
    max_concurrent: int
    created_at: datetime
    created_by: str
    revoked_at: datetime | None
    revoked_by: str | None


class NewKey(NamedTuple):
    """A key and the only copy of its secret. Unpack it; printed, it does not show the secret."""

    key: Key
    secret: str

    def __repr__(self) -> str:
        return f"NewKey({self.key!r})"


def hash_of(secret: str) -> str:
    """The form in which the database stores a secret."""
    return hashlib.sha256(secret.encode("utf-8", "replace")).hexdigest()


class KeyStore:
    """Reads and writes keys; every method is one transaction."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine

    def create(
        self,
        name: str,
        kind: Kind,
        *,
        requests_per_minute: int = 0,
        tokens_per_minute: int = 0,
        max_concurrent: int = 0,
        created_by: str,
    ) -> NewKey:
        """Create a key; its secret is returned here and nowhere else.

        Raises:
            ConfigError: the name, the kind or a limit cannot be used.
        """
        limits = {
            "requests_per_minute": requests_per_minute,
            "tokens_per_minute": tokens_per_minute,
            "max_concurrent": max_concurrent,
        }
        _check(name, kind, limits)
        for _ in range(ATTEMPTS):
            identity = secrets.token_hex(4)
            secret = f"{PREFIX}{identity}-{secrets.token_urlsafe(32)}"
            row = KeyRow(id=identity, name=name, kind=kind, hash=hash_of(secret), created_by=created_by[:63], **limits)
            try:
                with Session(self.engine) as session, session.begin():
                    session.add(row)
                    session.flush()
                    session.refresh(row)
                    return NewKey(Key.model_validate(row), secret)
            except IntegrityError:
                continue
        raise ConfigError(f"no free id for a key in {ATTEMPTS} attempts; try again")

    def list(self) -> list[Key]:
        """Return all keys, revoked ones too, oldest first."""
        with Session(self.engine) as session:
            rows = session.scalars(select(KeyRow).order_by(KeyRow.created_at, KeyRow.id))
            return [Key.model_validate(row) for row in rows]

    def active(self) -> dict[str, Key]:
        """The keys that are not revoked, by the hash of their secret."""
        with Session(self.engine) as session:
            rows = session.scalars(select(KeyRow).where(KeyRow.revoked_at.is_(None)))
            return {row.hash: Key.model_validate(row) for row in rows}

    def has_ever_locked(self) -> bool:
        """Whether an inference key was ever created: from then on requests need a key."""
        with Session(self.engine) as session:
            return session.scalar(select(KeyRow.id).where(KeyRow.kind == "inference").limit(1)) is not None

    def revoke(self, key: str, *, by: str) -> Key:
        """Revoke the key with that id, or with that name if one active key has it; a leaked key can be given whole.

        Raises:
            NotFoundError: no key has that id or name, or several have that name.
            ConfigError: it is revoked already.
        """
        found = self._named(key)
        change = {"revoked_at": now(), "revoked_by": by[:63]}
        with Session(self.engine) as session, session.begin():
            query = update(KeyRow).where(KeyRow.id == found.id, KeyRow.revoked_at.is_(None)).values(change)
            changed = session.scalar(query.returning(KeyRow.id)) is not None
            known = Key.model_validate(session.get_one(KeyRow, found.id))
        if not changed:
            when = f"{known.revoked_at:%Y-%m-%d %H:%M:%S} UTC"
            raise ConfigError(f"key {known.id} ({known.name}) was revoked already, {when}, by {known.revoked_by}")
        return known

    def _named(self, key: str) -> Key:
        keys = self.list()
        key = key[len(PREFIX) :][:8] if SECRET.fullmatch(key) else key
        fitting = [k for k in keys if k.id == key] or [k for k in keys if k.name == key]
        active = [k for k in fitting if k.revoked_at is None]
        if len(active) > 1:
            ids = ", ".join(k.id for k in active)
            raise NotFoundError(f"{len(active)} keys are called {key!r}; say which by its id: {ids}")
        if not fitting:
            known = ", ".join(f"{k.id} ({k.name})" for k in keys if k.revoked_at is None)
            raise NotFoundError(f"no key {key!r}; active keys there are: {known or 'none'}")
        return (active or fitting)[-1]


def open_keys(settings: Settings) -> KeyStore:
    """Open the key store of these settings. Raises ConfigError when the database cannot be opened."""
    return KeyStore(open_database(settings.database))


def _check(name: str, kind: str, limits: dict[str, int]) -> None:
    if not 1 <= len(name) <= 63 or name != name.strip() or not name.isprintable():
        raise ConfigError(f"{name!r} cannot be a key's name: use 1 to 63 printable characters")
    if kind not in get_args(Kind):
        raise ConfigError(f"no kind of key {kind!r}; kinds there are: {', '.join(get_args(Kind))}")
    for limit, value in limits.items():
        if not 0 <= value <= LARGEST:
            raise ConfigError(f"{limit} must be from 0 (no limit) to {LARGEST:,}, found {value:,}")
