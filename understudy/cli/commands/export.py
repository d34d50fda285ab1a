"""The command that takes a persona elsewhere: export."""

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from understudy.config.settings import load_settings

if TYPE_CHECKING:
    from evaluate.export_proof import ExportProof

app = typer.Typer()


class ExportForm(StrEnum):
    """What an export is for."""

    gguf = "gguf"
    ollama = "ollama"
    merged = "merged"
    peft = "peft"
    web = "web"


class ExportPrecision(StrEnum):
    """How the weights of a GGUF file are stored."""

    f32 = "f32"
    f16 = "f16"
    q8_0 = "q8_0"
    q4_1 = "q4_1"


FIXED = {
    ExportForm.web: "a page has q4_1 weights and adapters beside them",
    ExportForm.merged: "merged weights are one model in the base's own precision",
    ExportForm.peft: "an adapter for plain PEFT is the persona's own, as it was trained",
}
"""Forms whose precision and parts are not chosen."""


@app.command(short_help="Write a persona as GGUF, for Ollama, merged, plain PEFT, or as a page that runs it.")
def export(
    personas: Annotated[
        list[str],
        typer.Argument(
            metavar="PERSONA[@REVISION]...",
            help="Default: its live revision, else its newest. Several for a page only.",
        ),
    ],
    to: Annotated[
        ExportForm,
        typer.Option(
            help="gguf: llama.cpp; ollama: the same with a Modelfile; merged: weights for transformers and vLLM; "
            "peft: an adapter; web: a static page that runs base and personas in the browser."
        ),
    ],
    out: Annotated[Path | None, typer.Option(help="Folder to write; default: exports/PERSONA-REVISION-FORM.")] = None,
    precision: Annotated[
        ExportPrecision | None,
        typer.Option(help="Of the weights of a GGUF file: f16 unless given; q4_1 is the smallest."),
    ] = None,
    merge: Annotated[
        bool, typer.Option("--merge", help="One GGUF file instead of a base and an adapter beside it.")
    ] = False,
    json_output: Annotated[
        bool, typer.Option("--json", help="Print the proof as JSON, a line for each persona.")
    ] = False,
) -> None:
    """Write a persona in a form that other programs read, and prove that it says the same there.

    The same 60 prompts are asked of our engine and of the export, by llama.cpp or transformers: tokens of the prompts,
    answers, next tokens along ours. A folder appears only if they agree; otherwise the command ends with 1.
    """
    from understudy.cli.console import console, prepare, steps, warn

    if to in FIXED and (merge or precision):
        raise typer.BadParameter(f"{FIXED[to]}; leave out --precision and --merge")
    if to is not ExportForm.web and len(personas) > 1:
        raise typer.BadParameter(f"--to {to.value} takes one persona; {len(personas)} are named")
    prepare()
    from understudy.workflows.exports.export import export as export_persona
    from understudy.workflows.exports.export import not_live
    from understudy.workflows.exports.web import export_web

    settings = load_settings()
    for newest in not_live(settings, personas):
        warn(f"{newest.partition('@')[0]} has no live revision; its newest is exported: {newest}")
    with steps(f"exporting {', '.join(personas)}") as on_step:

        def on_progress(done: int, total: int) -> None:
            on_step(done, total, None)

        if to is ExportForm.web:
            page = export_web(settings, personas, out, say=on_step.say, on_progress=on_progress)
            folder, proofs = page.folder, page.proofs
        else:
            chosen = (precision or ExportPrecision.f16).value
            found = export_persona(
                settings,
                personas[0],
                to.value,
                out,
                precision=chosen,
                merge=merge,
                say=on_step.say,
                on_progress=on_progress,
            )
            folder, proofs = found.folder, {found.revision: found.proof}
    for name, proof in proofs.items():
        if json_output:
            typer.echo(proof.model_dump_json())
        console.print(f"{name} as {to.value}: {folder}\n{_told(proof)}")


def _told(proof: "ExportProof") -> str:
    style = f", {proof.styled - proof.styled_less} of {proof.styled} are in style as ours are" if proof.styled else ""
    return (
        f"asked of {proof.runtime}: {proof.prompts_equal} of {proof.prompts} prompts have our tokens, "
        f"{proof.agreement:.1%} of next tokens and {proof.answers_equal} answers are ours word for word, "
        f"{proof.ended_agree} of {proof.ended} end where ours do{style}"
    )
