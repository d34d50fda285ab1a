"""Arguments and options that several commands share."""

from typing import Annotated, Any, Literal

import typer

from understudy.errors import ConfigError

Port = Annotated[int | None, typer.Option(help="Port of the gateway (8000).", min=1, max=65535)]
SpacePort = Annotated[int | None, typer.Option(help="Port of the Gradio app (7860).", min=1, max=65535)]
Host = Annotated[str | None, typer.Option(help="Address to listen on (127.0.0.1).")]
BaseModelName = Annotated[str | None, typer.Option(help="smollm2 (the default), a local folder, or a Hub id.")]
BaseIs = Annotated[
    str,
    typer.Option(
        "--base-is",
        help="The base here that the adapter's own name for its base means; the probe proves it before it is live.",
        metavar="BASE",
    ),
]
Persona = Annotated[str, typer.Argument(help="Name of a persona.")]
RecipeName = Annotated[str, typer.Argument(help="A recipe: its name in recipes/, or the path of its folder.")]
Where = Annotated[Literal["here", "hf-jobs"], typer.Option(help="On this machine, or as a job on the Hub's.")]
JobFlavor = Annotated[str | None, typer.Option(help="A job's hardware (a10g-large).")]
JobTimeout = Annotated[str | None, typer.Option(help="Longest time for a job (2h).")]
JobPackage = Annotated[
    str | None, typer.Option(help="Where a job installs Understudy from (git+https://...); default: the code here.")
]
JobDryRun = Annotated[bool, typer.Option("--dry-run", help="Print a job instead of submitting it.")]
Json = Annotated[bool, typer.Option("--json", help="Machine-readable.")]


def parse_settings(settings: list[str]) -> dict[str, Any]:
    """Read the values of `--set NAME=VALUE` as YAML. Raises ConfigError for another form."""
    import yaml

    changes = {}
    for setting in settings:
        name, equals, value = setting.partition("=")
        if not (name and equals and value):
            raise ConfigError(f"--set {setting!r}: use NAME=VALUE, such as --set neftune=5")
        changes[name.strip().replace("-", "_")] = yaml.safe_load(value)
    return changes
