"""The registry: which revisions there are, which one each persona shows, and everything that happened."""

from pathlib import Path

from sqlalchemy import Engine

from understudy.config.settings import Settings
from understudy.registry.database import open_database
from understudy.registry.events import EventLog
from understudy.registry.follows import FollowStore
from understudy.registry.personas import PersonaStore
from understudy.registry.revisions import RevisionStore


class Registry(RevisionStore, PersonaStore, EventLog, FollowStore):
    """Reads and writes the registry; every method is one transaction."""

    def __init__(self, engine: Engine, store_dir: Path) -> None:
        """`store_dir` is the content-addressed adapter store."""
        self.engine = engine
        self.store_dir = store_dir


def open_registry(settings: Settings) -> Registry:
    """Open the registry of these settings. Raises ConfigError when the database cannot be opened."""
    return Registry(open_database(settings.database), settings.store_dir)
