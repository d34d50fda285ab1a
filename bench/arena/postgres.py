"""A PostgreSQL server of one's own for as long as a block lasts, where its programs are installed."""

import contextlib
import os
import pwd
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

from understudy.processes import free_port

PLACES = [*sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True), Path("/usr/bin"), Path("/usr/local/bin")]


class NoPostgresError(Exception):
    """There is none here; the message says what is missing."""


@contextlib.contextmanager
def postgres() -> Iterator[str]:
    """The address of an empty database in a cluster of its own, on loopback. Raises NoPostgresError."""
    programs = next((place for place in PLACES if (place / "initdb").is_file()), None)
    if programs is None:
        raise NoPostgresError("needs a PostgreSQL server (Debian: apt-get install postgresql)")
    folder = Path(tempfile.mkdtemp(prefix="understudy-postgres-"))
    if os.getuid() == 0:
        try:
            os.chown(folder, pwd.getpwnam("postgres").pw_uid, -1)
        except KeyError:
            raise NoPostgresError("running as root, and there is no user 'postgres' to run the server as") from None
    data, port = folder / "data", free_port()
    _as_postgres(programs / "initdb", "-D", data, "-U", "test", "--auth=trust", folder=folder)
    options = f"-p {port} -c listen_addresses=127.0.0.1 -c unix_socket_directories={folder}"
    _as_postgres(programs / "pg_ctl", "-D", data, "-o", options, "-l", folder / "log", "-w", "start", folder=folder)
    try:
        yield f"postgresql://test@127.0.0.1:{port}/postgres"
    finally:
        _as_postgres(programs / "pg_ctl", "-D", data, "-m", "immediate", "stop", folder=folder)
        shutil.rmtree(folder, ignore_errors=True)


def _as_postgres(*command: object, folder: Path) -> None:
    """Runs one of its programs; its server refuses to run as root."""
    prefix = ["runuser", "-u", "postgres", "--"] if os.getuid() == 0 else []
    subprocess.run([*prefix, *map(str, command)], check=True, cwd=folder, stdout=subprocess.DEVNULL)
