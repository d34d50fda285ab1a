"""Writes a new migration from what changed in tables.py: `make migration M="what changed"`."""

import sys
import tempfile
from pathlib import Path

from alembic import command
from alembic.config import Config

from understudy.registry.database import MIGRATIONS, open_database


def main(message: str) -> None:
    """Compares the tables with a fresh database at the newest migration."""
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS))
    config.set_main_option("file_template", "%%(rev)s_%%(slug)s")
    number = len(list((MIGRATIONS / "versions").glob("[0-9]*.py"))) + 1
    with tempfile.TemporaryDirectory() as folder:
        engine = open_database(f"sqlite:///{Path(folder) / 'fresh.db'}")
        with engine.begin() as connection:
            config.attributes["connection"] = connection
            command.revision(config, message=message, autogenerate=True, rev_id=f"{number:04}")


if __name__ == "__main__":
    main(" ".join(sys.argv[1:]) or "change")
