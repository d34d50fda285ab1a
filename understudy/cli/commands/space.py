"""Commands for the Gradio app, here and on Hugging Face Spaces: space, space deploy."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from understudy.cli.commands.options import Host, Json, SpacePort
from understudy.config.settings import load_settings
from understudy.terminal import printable

if TYPE_CHECKING:
    from space.deploy.deploy import DeployResult

app = typer.Typer()
space_app = typer.Typer(invoke_without_command=True)
app.add_typer(space_app, name="space", short_help="Start the Gradio app; put it on Hugging Face Spaces.")


@space_app.callback()
def space(context: typer.Context, space_port: SpacePort = None, host: Host = None) -> None:
    """Start the Gradio app: chat and blind arena. It only talks HTTP to the gateway.

    `understudy space deploy` puts it on Hugging Face Spaces.
    """
    if context.invoked_subcommand is None:
        from space.app import launch

        launch(load_settings(space_port=space_port, host=host))


@space_app.command("deploy")
def space_deploy(
    repo: Annotated[str, typer.Argument(help="The Space on the Hub.", metavar="ORG/SPACE")],
    endpoint: Annotated[str, typer.Option(help="Address of the gateway, as the internet reaches it.")] = "",
    flavor: Annotated[
        Literal["gradio", "zerogpu", "docker", "static"],
        typer.Option(
            help="gradio: the app alone; zerogpu: with base and adapters, free; docker: with engine and gateway; "
            "static: a page that runs in the visitor's browser, free."
        ),
    ] = "gradio",
    hardware: Annotated[str, typer.Option(help="What it runs on, as the Hub names it: cpu-basic, l4x1, …")] = "",
    private: Annotated[bool, typer.Option("--private", help="Only for its owners.")] = False,
    dataset: Annotated[
        str, typer.Option(help="Data set repository for battles and votes, private at first.", metavar="ORG/NAME")
    ] = "",
    model: Annotated[list[str] | None, typer.Option(help="ORG/NAME to link to. Repeatable.")] = None,
    recipe: Annotated[
        list[str] | None,
        typer.Option(help="Docker: a recipe that goes up with its examples and is trained there. Repeatable."),
    ] = None,
    page: Annotated[
        Path | None, typer.Option(help="Static: the folder that `understudy export --to web` wrote.")
    ] = None,
    title: Annotated[str, typer.Option(help="Name of the page.")] = "Understudy",
    oauth: Annotated[bool, typer.Option("--oauth", help="Let people sign in with their Hub account.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="List what would be sent.")] = False,
    json_output: Json = False,
) -> None:
    """Make or update a Space: its page, the code it needs, variables and secrets. Needs HF_TOKEN.

    Keys that are set here become secrets of the Space: UNDERSTUDY_API_KEY for gradio; UNDERSTUDY_ADMIN_KEY (for
    rollbacks) and UNDERSTUDY_WEBHOOK_SECRET for zerogpu; UNDERSTUDY_VOTES_TOKEN with --dataset. What is the same is
    not sent again.
    """
    from dataclasses import asdict

    from space.deploy.deploy_space import deploy_space
    from space.deploy.files import SpaceSpec

    spec = SpaceSpec(
        repo,
        flavor=flavor,
        hardware=hardware,
        title=title,
        dataset=dataset,
        oauth=oauth,
        models=tuple(model or ()),
        recipes=tuple(recipe or ()),
        page=page,
    )
    settings = load_settings()
    result = deploy_space(settings, spec, endpoint=endpoint, private=private, dry_run=dry_run)
    if dataset and not settings.votes_token:
        hint = f"votes: set the secret UNDERSTUDY_VOTES_TOKEN of the Space, a token that may write {dataset}"
        typer.echo(printable(hint), err=True)
    if json_output:
        print(json.dumps(asdict(result), indent=2))
    else:
        _show(result, dry_run=dry_run)


def _show(result: "DeployResult", *, dry_run: bool) -> None:
    """Prints what was done, or would be: files, variables, secrets, hardware."""
    for sign, paths in (("+", result.added), ("~", result.changed), ("-", result.removed)):
        for path in paths if dry_run else ():
            print(printable(f"{sign} {path}"))
    would = "would be " if dry_run else ""
    counts = f"{len(result.added)} files added, {len(result.changed)} changed, {len(result.removed)} removed"
    print(
        printable(
            f"{result.url} {would}{'created' if result.created else 'updated' if result.differs else 'unchanged'}"
        )
    )
    commit = f", commit {result.commit[:12]}" if result.commit else ""
    print(f"  {counts if result.differs else 'no file differs'}{commit}")
    for what, names in (("variables", result.variables), ("secrets", result.secrets)):
        if names:
            print(f"  {what} {would}set: {', '.join(names)}")
    if result.hardware:
        print(f"  hardware {would}requested: {result.hardware}")
