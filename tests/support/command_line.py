"""The command line called in this process, so that nothing is imported twice."""

import contextlib
import io
import os
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from unittest.mock import patch

from huggingface_hub import constants

from understudy.cli import console as cli_console
from understudy.cli import main


@dataclass(frozen=True)
class Done:
    """What a command left on the terminal."""

    returncode: int
    stdout: str
    stderr: str


def understudy(*arguments: str | Path, env: Mapping[str, str] | None = None) -> Done:
    """Runs `understudy ARGUMENTS` with these variables besides the test's own."""
    out, err, code = io.StringIO(), io.StringIO(), 0
    width = int((env or {}).get("COLUMNS", 80))
    with (
        patch.dict(os.environ, env or {}),
        patch.object(cli_console.out, "_width", width),  # a console looks for COLUMNS once, when it is made
        patch.object(cli_console.console, "_width", width),
        patch.object(sys, "argv", ["understudy", *map(str, arguments)]),
        contextlib.redirect_stdout(out),
        contextlib.redirect_stderr(err),
    ):
        try:
            main()
        except SystemExit as end:
            code = end.code if isinstance(end.code, int) else int(bool(end.code))
    return Done(code, out.getvalue(), err.getvalue())


@contextlib.contextmanager
def on_hub(url: str, home: Path, token: str = "", *, xet: bool = False) -> Iterator[None]:
    """Within it the Hub's client of this process knows that Hub, that token and a cache in `home`, and no other.

    `xet`: that Hub has a chunk store, to which the client uploads.
    """
    with (
        patch.dict(os.environ, {"UNDERSTUDY_HUB_ENDPOINT": url, "HF_TOKEN": token}),
        patch.object(constants, "HF_HUB_CACHE", str(home / "hub")),
        patch.object(constants, "HF_TOKEN_PATH", str(home / "token")),
        patch.object(constants, "HF_HUB_OFFLINE", False),
        patch.object(constants, "HF_HUB_DISABLE_XET", not xet),
    ):
        yield
