"""The command line `understudy`. Verbs are imported when they are called, so that --help answers at once."""

import sys

from understudy.errors import UnderstudyError
from understudy.terminal import printable


def main() -> None:
    """Runs the command line; errors that are the user's to fix become one line and exit code 1."""
    from understudy.cli.app import app

    try:
        app()
    except UnderstudyError as error:
        print(printable(f"error: {error}"), file=sys.stderr)
        sys.exit(1)
    except KeyboardInterrupt:
        print("stopped", file=sys.stderr)
        sys.exit(130)
