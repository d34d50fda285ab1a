"""Commands for training data: data inspect, data augment."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from understudy.cli.commands.options import BaseModelName, Json
from understudy.config.settings import Settings, load_settings
from understudy.errors import ExamplesError

if TYPE_CHECKING:
    from understudy.data.messages import Example

app = typer.Typer()
data_app = typer.Typer(help="Training data: what is in a file before it is trained on.", no_args_is_help=True)
app.add_typer(data_app, name="data", short_help="Look into training data before it is trained on; make more.")

RECORDS = "records.jsonl"
"""The file in a recipe's folder with the records of people that its examples describe."""


@data_app.command("inspect")
def data_inspect(
    source: Annotated[
        str, typer.Argument(help="A file, a folder of files, or hub:ORG/NAME[@REVISION][:SPLIT].", metavar="FILE")
    ],
    columns: Annotated[str, typer.Option(help="Which column is which: prompt=a,completion=b.")] = "",
    heldout: Annotated[str | None, typer.Option(help="A held-out file to compare with.", metavar="FILE")] = None,
    max_length: Annotated[int | None, typer.Option(help="Longest row in tokens that may be trained.", min=1)] = None,
    base: BaseModelName = None,
    json_output: Json = False,
) -> None:
    """Show what is in training data: its schema, bad rows, duplicates, lengths, secrets. Exit code 1 if rows are bad.

    Reads .jsonl, .json, .csv, .tsv and .parquet. Tokens are counted when --base or --max-length is given.
    """
    from understudy.bases import resolve_base
    from understudy.cli.show_data import show_inspection
    from understudy.data.inspect import inspect_data

    counts_tokens = max_length is not None or base is not None
    found = inspect_data(
        source,
        columns=parse_columns(columns),
        heldout=heldout,
        tokenizer=resolve_base(load_settings(base=base).base).location if counts_tokens else None,
        max_length=max_length,
    )
    if json_output:
        print(json.dumps(found.model_dump(mode="json"), indent=2))
    else:
        show_inspection(found)
    raise typer.Exit(0 if found.trainable else 1)


@data_app.command("augment")
def data_augment(
    source: Annotated[
        str, typer.Argument(help="A recipe, or a file of rows or of records of people.", metavar="RECIPE_OR_FILE")
    ],
    out: Annotated[str | None, typer.Option(help="File to write; default: standard output.", metavar="FILE")] = None,
    seed: Annotated[int, typer.Option(help="Seed of everything random.")] = 0,
    times: Annotated[int, typer.Option(help="Other wordings of each prompt (rows, not records).", min=1, max=3)] = 1,
) -> None:
    """Make more rows from rows: each names its parent, and stays on its side of every split.

    Records of people become paraphrased, swapped and balanced profiles; other rows get other wordings of their prompts.
    """
    from understudy.cli.console import console
    from understudy.data.augment.rows import dump_rows

    path = _rows_file(load_settings(), source)
    target = Path(out) if out else None
    if target is not None and target.exists():
        raise ExamplesError(f"{target}: there is something already; choose another file with --out")
    count, rows = _augmented(path, seed=seed, times=times)
    if target is None:
        print(dump_rows(rows), end="")
    else:
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(dump_rows(rows), encoding="utf-8")
    console.print(f"{count} rows of {path}, and {len(rows) - count} made from them")


def parse_columns(text: str) -> dict[str, str]:
    """Read `prompt=a,completion=b` as a mapping; an empty text is an empty one.

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


def _rows_file(settings: Settings, source: str) -> Path:
    """The file `source`, else the recipe's records of people, else its examples. Raises ConfigError, NotFoundError."""
    from understudy.config.recipe import load_recipe

    if Path(source).is_file():
        return Path(source)
    recipe = load_recipe(source, settings.recipes_dir)
    records = recipe.folder / RECORDS
    return records if records.is_file() else recipe.folder / recipe.examples


def _augmented(path: Path, *, seed: int, times: int) -> "tuple[int, list[Example]]":
    """The number of rows in the file, and all rows with those made from them. Raises ExamplesError."""
    from understudy.data.augment.profiles import read_people
    from understudy.data.augment.rows import augment, reword
    from understudy.data.load import load_examples

    if _holds_people(path):
        people = read_people(path)
        return len(people), augment(people, seed=seed)
    examples = load_examples(path)
    return len(examples), reword(examples, seed=seed, times=times)


def _holds_people(path: Path) -> bool:
    """Whether the first row is a record of a person, not a training row."""
    first = path.read_bytes().lstrip().partition(b"\n")[0]
    try:
        row = json.loads(first)
    except ValueError:
        return False
    return isinstance(row, dict) and {"id", "name"} <= row.keys() and "messages" not in row
