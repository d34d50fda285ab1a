"""Commands for base models: bases, base prepare."""

import json
from typing import TYPE_CHECKING, Annotated, Any

import typer

from understudy.cli.commands.options import Json
from understudy.config.settings import SMOLLM2, TINY, Settings, load_settings
from understudy.terminal import printable

if TYPE_CHECKING:
    from understudy.bases import KnownBase

app = typer.Typer()
base_app = typer.Typer(help="Prepare a base.", no_args_is_help=True)
app.add_typer(base_app, name="base", short_help="Prepare a base.")

WIDTH = 150
"""Columns that the catalogue takes; narrower terminals wrap its lines."""
ANY_OPTION = {"ignore_unknown_options": True, "allow_extra_args": True, "help_option_names": []}
"""Settings of a former command, which answers alike whatever it is given."""


@app.command("bases", short_help="List the bases that are known by name.")
def bases(json_output: Json = False) -> None:
    """List the bases that are known by name: size, memory, licence, origin, and whether they are on this machine."""
    from understudy.bases import CATALOGUE

    settings = load_settings()
    rows = [
        {**base.model_dump(), "memory_gib": round(base.memory_gib, 1), "here": _is_here(settings, base)}
        for base in CATALOGUE
    ]
    if json_output:
        print(json.dumps(rows))
    else:
        _show(rows)


@base_app.command("prepare")
def base_prepare(
    name: Annotated[str, typer.Argument(help="A base of `understudy bases`, a folder, or a Hub id.")] = SMOLLM2,
) -> None:
    """Make a base ready to be trained on and served; does nothing when it is."""
    from understudy.bases import require_base
    from understudy.cli.console import base_progress

    with base_progress() as on_progress:
        base = require_base(name, on_progress)
    print(printable(f"{name} is ready: {base.location}"))


@base_app.command("build", hidden=True, context_settings=ANY_OPTION)
def base_build() -> None:
    """Moved to tools.tiny_base.pretrain."""
    _refer_to("tools.tiny_base.pretrain")


@base_app.command("eval", hidden=True, context_settings=ANY_OPTION)
def base_eval() -> None:
    """Moved to tools.tiny_base.evaluate."""
    _refer_to("tools.tiny_base.evaluate")


def _refer_to(module: str) -> None:
    """Say where a former command is."""
    typer.echo(f"error: this command is now `python -m {module}`, in a checkout of the sources", err=True)
    raise typer.Exit(2)


def _show(rows: list[dict[str, Any]]) -> None:
    from rich.table import Table

    from understudy.cli.console import PlainConsole

    out = PlainConsole(width=WIDTH)
    table = Table(box=None, pad_edge=False)
    for header in ("base", "weights", "memory", "here", "licence", "from"):
        table.add_column(header, no_wrap=True)
    for row in rows:
        weights = row["parameters"]
        size = f"{weights / 1e9:.1f} B" if weights >= 5e8 else f"{weights / 1e6:.0f} M"
        origin = f"{row['origin']}; {row['note']}" if row["note"] else row["origin"]
        here = "yes" if row["here"] else "no"
        table.add_row(row["name"], size, f"{row['memory_gib']:.1f} GiB", here, row["licence"], origin)
    out.print(table)
    out.print("\nAny causal language model with a chat template will do, by Hub id or folder: UNDERSTUDY_BASE=…")


def _is_here(settings: Settings, base: "KnownBase") -> bool:
    from understudy.bases.prepare import intact

    if base.name == TINY:
        return True
    if base.name == SMOLLM2:
        return intact(settings.bases_dir / SMOLLM2)
    from huggingface_hub import try_to_load_from_cache

    return isinstance(try_to_load_from_cache(base.name, "config.json"), str)
