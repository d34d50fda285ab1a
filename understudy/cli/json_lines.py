"""What a command tells other programs while it works: one JSON object a line on standard output."""

import json
import math
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stdout

from understudy.errors import UnderstudyError

Value = str | int | float | None
Report = Callable[..., None]
"""Called with the fields of one object as keyword arguments, each a `Value`."""


def silent(**fields: Value) -> None:
    """Tells nobody."""


@contextmanager
def json_lines(wanted: bool) -> Iterator[Report]:
    """Yields a function that writes one line; one that writes nothing unless `wanted`.

    Inside of the block everything else that is printed goes to standard error. An error of ours that ends the block is
    written as `{"error": …}` on its way.
    """
    if not wanted:
        yield silent
        return
    out = sys.stdout

    def write(**fields: Value) -> None:
        print(json.dumps({name: _finite(value) for name, value in fields.items()}), file=out, flush=True)

    with redirect_stdout(sys.stderr):
        try:
            yield write
        except UnderstudyError as error:
            write(error=str(error))
            raise


def _finite(value: Value) -> Value:
    """JSON has no NaN and no infinity."""
    return None if isinstance(value, float) and not math.isfinite(value) else value
