"""`understudy data`: what is in training data, as tables or JSON; and more rows made from it."""

import json
from collections.abc import Iterator
from pathlib import Path

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from understudy.config.recipe import load_recipe
from understudy.config.settings import Settings
from understudy.data.examples import load_examples
from understudy.data.inspect import Distribution, Inspection, inspect_data
from understudy.errors import ExamplesError

console = Console(highlight=False, soft_wrap=True)
error_console = Console(stderr=True, highlight=False, soft_wrap=True)
RECORDS = "records.jsonl"
"""Where a recipe keeps the records of people that its examples tell of."""

FINDINGS = {
    "placeholder_answer": "answers that look like a placeholder",
    "unprintable": "rows with characters that cannot be seen",
    "secret": "rows with what looks like a secret",
    "email": "rows with an e-mail address",
}


def print_inspection(
    source: str, *, columns: str, heldout: str | None, base: str | None, max_length: int | None, json_output: bool
) -> int:
    """Inspects the data and prints the result; returns the exit code, 0 when all rows can be trained on.

    `columns` is written `prompt=a,completion=b`. With `base`, rows are counted in its tokens.

    Raises:
        ExamplesError: the data cannot be read at all, or `columns` is malformed.
        BaseModelError: there is no such base, or it has no tokenizer.
    """
    found = inspect_data(
        source,
        columns=parse_columns(columns),
        heldout=heldout,
        tokenizer=_location(base) if base else None,
        max_length=max_length,
    )
    if json_output:
        print(json.dumps(found.model_dump(mode="json"), indent=2))
    else:
        _print(found)
    return 0 if found.trainable else 1


def augment_data(settings: Settings, source: str, out: str | None, *, seed: int, times: int) -> None:
    """Writes the rows of a recipe or a file, and those made from them, to `out` or to standard output.

    A recipe's records of people (`records.jsonl`) are taken where it has them, else its examples.

    Raises:
        ExamplesError: the data cannot be read, or `out` is there already.
        NotFoundError: there is neither such a file nor such a recipe.
    """
    from understudy.data.augment import augment, dump_rows, read_people, reword

    path = Path(source)
    if not path.is_file():
        recipe = load_recipe(source, settings.recipes_dir)
        records = recipe.folder / RECORDS
        path = records if records.is_file() else recipe.folder / recipe.examples
    target = Path(out) if out else None
    if target is not None and target.exists():
        raise ExamplesError(f"{target}: there is something already; choose another file with --out")
    if _holds_people(path):
        before = read_people(path)
        rows = augment(before, seed=seed)
    else:
        before = load_examples(path)
        rows = reword(before, seed=seed, times=times)
    if target is None:
        print(dump_rows(rows), end="")
    else:
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(dump_rows(rows), encoding="utf-8")
    error_console.print(f"{len(before)} rows of {path}, and {len(rows) - len(before)} made from them")


def _holds_people(path: Path) -> bool:
    """Whether the first row is a record of a person, not a training row."""
    first = path.read_bytes().lstrip().partition(b"\n")[0]
    try:
        row = json.loads(first)
    except ValueError:
        return False
    return isinstance(row, dict) and {"id", "name"} <= row.keys() and "messages" not in row


def parse_columns(text: str) -> dict[str, str]:
    """`prompt=a,completion=b` as a mapping; empty for an empty text.

    Raises:
        ExamplesError: a part is not NAME=COLUMN, or a name is there twice.
    """
    columns: dict[str, str] = {}
    for part in filter(None, text.split(",")):
        name, equals, column = (piece.strip() for piece in part.partition("="))
        if not (name and equals and column) or name in columns:
            raise ExamplesError(f"--columns: found {part!r}; write each part once, as in prompt=a,completion=b")
        columns[name] = column
    return columns


def _location(base: str) -> str:
    from understudy.bases import resolve_base

    return resolve_base(base).location


def _print(found: Inspection) -> None:
    table = _table()
    for name, value in _facts(found):
        table.add_row(name, escape(value))
    console.print(table)
    for title, rows in (("bad rows", _problems(found, bad=True)), ("worth a look", list(_worth_a_look(found)))):
        if rows:
            console.print(f"\n[bold]{title}[/bold]")
            table = _table()
            for cells in rows:
                table.add_row(*map(escape, cells))
            console.print(table)
    console.print(f"\n{escape(_verdict(found))}")


def _table() -> Table:
    table = Table(box=None, pad_edge=False, show_header=False)
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    return table


def _facts(found: Inspection) -> Iterator[tuple[str, str]]:
    yield "source", found.source
    yield "rows", f"{found.rows:,} ({found.usable:,} usable)"
    yield "schema", f"{found.schema_name} ({found.detected})"
    yield "columns used", ", ".join(found.columns_used) or "-"
    yield "columns ignored", ", ".join(found.columns_ignored) or "-"
    yield "answers per row", ", ".join(f"{turns} in {rows:,} rows" for turns, rows in found.turns.items()) or "-"
    prompts = found.system_prompts
    yield "system prompts", f"in {prompts.rows:,} rows, {prompts.distinct:,} different" if prompts.rows else "-"
    yield "prompt characters", _spread(found.prompt_characters)
    yield "answer characters", _spread(found.answer_characters)
    if found.tokens:
        yield "tokens per row", _spread(found.tokens.spread)
    if found.emptied:
        yield "nulls taken as empty", f"{found.emptied:,}, in optional columns"
    if found.overlap:
        over = found.overlap
        yield (
            "held-out overlap",
            f"{over.total:,} of {over.rows:,} rows ({over.exact:,} exact, {over.normalised:,} but for spelling, "
            f"{over.contained:,} by half their words in order)",
        )


def _spread(spread: Distribution | None) -> str:
    if spread is None:
        return "-"
    return f"min {spread.min:,}, median {spread.median:,}, p95 {spread.p95:,}, max {spread.max:,}"


def _problems(found: Inspection, *, bad: bool) -> list[tuple[str, str]]:
    rows = []
    for group in found.problems:
        if group.bad == bad:
            titles = [f"{group.count:,} {group.kind}"] + [""] * (len(group.first) - 1)
            texts = [f"{_place(problem.origin, found.source)}: {problem.text}" for problem in group.first]
            rows += zip(titles, texts, strict=True)
    if bad and found.tokens and found.tokens.too_long:
        text = f"{found.tokens.too_long:,} longer than {found.tokens.max_length:,} tokens"
        rows.append((text, _origins(found.tokens.origins, found.tokens.too_long, found.source)))
    return rows


def _worth_a_look(found: Inspection) -> Iterator[tuple[str, str]]:
    yield from _problems(found, bad=False)
    for finding in found.findings:
        yield f"{finding.count:,} {FINDINGS[finding.kind]}", _origins(finding.origins, finding.count, found.source)
    if found.overlap and found.overlap.total:
        yield f"{found.overlap.total:,} held-out rows in the data", _origins(found.overlap.origins, found.overlap.total)


def _origins(origins: tuple[str, ...], count: int, source: str = "") -> str:
    return ", ".join(_place(origin, source) for origin in origins) + (", …" if count > len(origins) else "")


def _place(origin: str, source: str) -> str:
    """Where a row stands, without the name of the source that is printed above."""
    if not source or not origin.startswith((f"{source}:", f"{source} row ")):
        return origin
    place = origin.removeprefix(source)
    return f"line {place[1:]}" if place[0] == ":" else place.strip()


def _verdict(found: Inspection) -> str:
    if found.trainable:
        return "all rows can be trained on"
    too_long = found.tokens.too_long if found.tokens else 0
    faults = [f"{found.bad:,} bad"] if found.bad else []
    faults += [f"{too_long:,} too long"] if too_long else []
    return f"not ready: of {found.rows:,} rows {' and '.join(faults) or 'none can be used'}; correct or remove them"
