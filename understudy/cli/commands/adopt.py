"""The command that takes in adapters of other tools: adopt."""

import json
from pathlib import Path
from typing import Annotated

import typer

from understudy.cli.commands.options import BaseIs, BaseModelName, Json
from understudy.config.settings import load_settings

app = typer.Typer()


@app.command(short_help="Write a mended copy of another tool's adapter.")
def adopt(
    adapter: Annotated[Path, typer.Argument(help="An adapter folder, or a LoRA as a GGUF file.", metavar="ADAPTER")],
    out: Annotated[Path | None, typer.Option(help="Folder to write; default: ADAPTER-adopted beside it.")] = None,
    base: BaseModelName = None,
    base_is: BaseIs = "",
    alpha: Annotated[
        float | None, typer.Option(help="The lora_alpha that it was trained with, if it does not say it.", min=1e-6)
    ] = None,
    json_output: Json = False,
) -> None:
    """Write a mended copy of another tool's adapter into a new folder, and validate it there.

    Tensors get PEFT's names, float64 becomes float32, parts are joined, and missing settings are taken from the
    weights, each only where nothing else can be meant. Pickles are never read. Ends with 1 when the copy cannot be
    served either.
    """
    from understudy.cli.console import out as console
    from understudy.cli.console import warn
    from understudy.workflows.adopt_adapter import adopt as adopt_adapter

    found = adopt_adapter(load_settings(base=base), adapter, out, base_is=base_is, alpha=alpha)
    if json_output:
        facts = {"folder": str(found.folder), "changes": found.changes, **found.validation.model_dump()}
        print(json.dumps(facts, indent=2))
    else:
        for change in found.changes or ["nothing had to be mended"]:
            console.print(change, markup=False, highlight=False)
        if found.validation.valid:
            console.print(f"valid: {found.folder} can be served", markup=False, highlight=False)
    for problem in () if json_output else found.validation.problems:
        print(f"- {problem}")
    if not found.validation.valid:
        if not json_output:
            warn(f"{found.folder} is written, but cannot be served as it is")
        raise typer.Exit(1)
