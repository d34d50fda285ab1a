"""Checks the rows of code-qa: every program runs in the sandbox and prints what its answer says it prints.

    python -m tools.recipe_data.check_code_rows

Prints one line for each failure (file, line number, what happened) and a summary. The exit code is 1 after a failure.
`evaluate/code/sandbox.py` describes the limits that the programs run under. Linux only.
"""

import json
import re
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from evaluate.code.evaluation import default_workers
from evaluate.code.sandbox import run_program

FOLDER = Path(__file__).parents[2] / "recipes" / "code-qa"
TRAINING, HELDOUT = FOLDER / "examples.jsonl", FOLDER / "heldout.jsonl"
ANSWER = re.compile(r"[^\n]+\n```python\n((?:(?!```).)+)```\n([^\n]+)", re.DOTALL)  # a sentence, a program, a sentence
PRINTED = re.compile(r"prints ((?:(?:, | and | and then |, and )?`[^`]+`)+)")  # one or more texts in backticks
COLUMNS = ("instruction", "input", "output")
MOST_WORDS = 110
ALIKE = 0.75  # share of words in common from which a held-out question is too close to a training question


def read_rows(path: Path) -> list[dict[str, str]]:
    """Return the rows of a JSONL file, one a line.

    Raises:
        ValueError: a line is not ASCII, not JSON, or lacks a column; the file and the line are named.
    """
    rows = []
    for number, line in enumerate(path.read_bytes().splitlines(), 1):
        try:
            row = json.loads(line.decode("ascii"))
            rows.append({name: row[name] for name in COLUMNS + ("topic",) * (path == HELDOUT)})
        except (ValueError, KeyError, TypeError) as error:
            raise ValueError(f"{path.name}:{number}: {error!r}") from None
    return rows


def row_problems(row: dict[str, str]) -> Iterator[str]:
    """Yield what is wrong with one row by itself. Runs its program once."""
    if not (answer := ANSWER.fullmatch(row["output"])):
        yield "the answer is not a sentence, one python block and a sentence"
        return
    program, closing = answer.groups()
    if len(row["output"].split()) > MOST_WORDS:
        yield f"the answer has more than {MOST_WORDS} words"
    if not 2 <= sum(bool(line.strip()) for line in program.splitlines()) <= 10:
        yield "the program does not have 2 to 10 lines"
    if not re.search(rf"(?<![a-zA-Z]){row.get('topic', '')}(?![a-zA-Z])", program):
        yield f"the program does not use {row['topic']!r}, its topic"
    run = run_program(program)
    claims = re.findall(r"`([^`]+)`", " ".join(PRINTED.findall(closing)))
    if run.outcome != "passed":
        yield f"the program ended with {run.outcome}: {(run.stderr.strip() or 'no message').splitlines()[-1]}"
    elif not run.stdout.strip():
        yield "the program prints nothing"
    elif wrong := [text for text in claims if text not in run.stdout]:
        yield f"the answer says it prints {wrong}; it prints {run.stdout!r}"


def repetitions(files: dict[Path, list[dict[str, str]]]) -> Iterator[tuple[Path, int, str]]:
    """Yield each row that repeats an earlier question, and each held-out row worded like a training question."""
    seen: dict[tuple[str, ...], str] = {}
    for path, rows in files.items():
        for number, row in enumerate(rows, 1):
            here, key = f"{path.name}:{number}", tuple(_words(f"{row['instruction']} {row['input']}"))
            if seen.setdefault(key, here) != here:
                yield path, number, f"asks the same as {seen[key]}"
    training = [set(_words(row["instruction"])) for row in files[TRAINING]]
    for number, row in enumerate(files[HELDOUT], 1):
        own = set(_words(row["instruction"]))
        share, line = max((len(own & other) / len(own | other), line) for line, other in enumerate(training, 1))
        if share >= ALIKE:
            yield HELDOUT, number, f"is worded like {TRAINING.name}:{line}"


def _words(text: str) -> list[str]:
    return re.findall(r"\w+|[^\w\s]+", text.casefold().rstrip(".?! "))


def main() -> int:
    """Print the failures and a summary; return the exit code."""
    files = {path: read_rows(path) for path in (TRAINING, HELDOUT)}
    places = [(path, number, row) for path, rows in files.items() for number, row in enumerate(rows, 1)]
    with ThreadPoolExecutor(default_workers()) as pool:
        found = list(pool.map(lambda place: list(row_problems(place[2])), places))
    failures = [(path, line, text) for (path, line, _), texts in zip(places, found, strict=True) for text in texts]
    failures += repetitions(files)
    for path, number, text in failures:
        print(f"{path.name}:{number}: {text}")
    print(f"{len(files[TRAINING])} training rows, {len(files[HELDOUT])} held-out rows, {len(failures)} failures")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
