"""Progress for other programs: one JSON object a line on standard output."""

import json
import math
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, redirect_stdout

from understudy.errors import UnderstudyError

Value = str | int | float | None
WriteLine = Callable[[Mapping[str, Value]], None]


@contextmanager
def json_lines(wanted: bool) -> Iterator[WriteLine]:
    """Yields a function that writes one object as a line; unless `wanted`, it writes nothing.

    Inside of the block everything else that is printed goes to standard error. An UnderstudyError that ends the block
    is written as `{"error": …}` before it passes.
    """
    if not wanted:
        yield lambda _: None
        return
    stdout = sys.stdout

    def write(record: Mapping[str, Value]) -> None:
        print(json.dumps({name: _finite(value) for name, value in record.items()}), file=stdout, flush=True)

    with redirect_stdout(sys.stderr):
        try:
            yield write
        except UnderstudyError as error:
            write({"error": str(error)})
            raise


def _finite(value: Value) -> Value:
    """JSON has no NaN and no infinity."""
    return None if isinstance(value, float) and not math.isfinite(value) else value
