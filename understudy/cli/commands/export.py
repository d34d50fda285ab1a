"""The command that takes a persona elsewhere: export."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from understudy.config.settings import load_settings

app = typer.Typer()


class ExportForm(StrEnum):
    """What an export is for."""

    gguf = "gguf"
    ollama = "ollama"
    merged = "merged"
    peft = "peft"


class ExportPrecision(StrEnum):
    """How the weights of a GGUF file are stored."""

    f32 = "f32"
    f16 = "f16"
    q8_0 = "q8_0"
    q4_1 = "q4_1"


@app.command(short_help="Write a persona as GGUF, for Ollama, merged, or plain PEFT.")
def export(
    persona: Annotated[str, typer.Argument(metavar="PERSONA[@REVISION]", help="Default: its live revision.")],
    to: Annotated[
        ExportForm,
        typer.Option(
            help="gguf: llama.cpp; ollama: the same with a Modelfile; merged: weights for transformers and vLLM; "
            "peft: an adapter."
        ),
    ],
    out: Annotated[Path | None, typer.Option(help="Folder to write; default: exports/PERSONA-REVISION-FORM.")] = None,
    precision: Annotated[
        ExportPrecision, typer.Option(help="Of the weights of a GGUF file; q4_1 is the smallest.")
    ] = ExportPrecision.f16,
    merge: Annotated[
        bool, typer.Option("--merge", help="One GGUF file instead of a base and an adapter beside it.")
    ] = False,
    json_output: Annotated[bool, typer.Option("--json", help="Print the proof as JSON.")] = False,
) -> None:
    """Write a persona in a form that other programs read, and prove that it says the same there.

    The same 60 prompts are asked of our engine and of the export, by llama.cpp or transformers: tokens of the prompts,
    answers, next tokens along ours. A folder appears only if they agree; otherwise the command ends with 1.
    """
    from understudy.cli.console import console, prepare, steps

    prepare()
    from understudy.workflows.export import export as export_persona

    with steps(f"exporting {persona}") as on_step:
        found = export_persona(
            load_settings(),
            persona,
            to.value,
            out,
            precision=precision.value,
            merge=merge,
            say=on_step.say,
            on_progress=lambda done, total: on_step(done, total, None),
        )
    proof = found.proof
    if json_output:
        typer.echo(proof.model_dump_json())
    console.print(
        f"{found.revision} as {to.value}: {found.folder}\n"
        f"asked of {proof.runtime}: {proof.prompts_equal} of {proof.prompts} prompts have our tokens, "
        f"{proof.agreement:.1%} of next tokens and {proof.answers_equal} answers are ours word for word, "
        f"{proof.ended_agree} of {proof.ended} end where ours do"
    )
