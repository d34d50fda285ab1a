"""What `understudy data inspect` shows of training data, as tables."""

from collections.abc import Iterator

from rich.table import Table

from understudy.cli.console import out
from understudy.data.inspect import Distribution, Inspection
from understudy.terminal import one_line

FINDINGS = {
    "placeholder_answer": "answers that look like a placeholder",
    "unprintable": "rows with characters that cannot be seen",
    "secret": "rows with what looks like a secret",
    "email": "rows with an e-mail address",
    "media_mark": "rows with a place for an image, a video or audio",
    "control_token": "rows with a chat template's control tokens in their text",
}


def show_inspection(found: Inspection) -> None:
    """Facts, bad rows, rows worth a look, and whether all rows can be trained on."""
    table = _table()
    for name, value in _facts(found):
        table.add_row(name, one_line(value))
    out.print(table)
    for title, rows in (("bad rows", _problems(found, bad=True)), ("worth a look", list(_worth_a_look(found)))):
        if rows:
            out.print(f"\n{title}", style="bold")
            table = _table()
            for cells in rows:
                table.add_row(*map(one_line, cells))
            out.print(table)
    out.print(f"\n{_verdict(found)}")


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
    """Where a row is, without the name of the source, which is printed above."""
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
