"""The command line: its commands in the order of the pipeline. Their help is in understudy.cli.commands."""

from typing import TYPE_CHECKING, Annotated

import typer
from typer.core import TyperGroup

from understudy import __version__
from understudy.cli.commands import admin, adopt, bases, data, evaluate, export, serve, space, train, votes

if TYPE_CHECKING:
    from typer._click import Context, HelpFormatter

PANELS = {
    "Start here": ("demo",),
    "Train": ("bases", "base", "data", "check", "train", "sweep"),
    "Evaluate": ("verify", "report", "compare", "validate", "adopt", "eval-code"),
    "Serve": ("serve", "push", "publish", "ask", "promote", "rollback"),
    "Take it elsewhere": ("export",),
    "Arena and votes": ("rank", "preferences", "votes"),
    "Hub and Spaces": ("space",),
    "Administration": ("personas", "history", "keys"),
}
"""What `understudy --help` shows under which heading; a command in none of them is listed last."""


class Pipeline(TyperGroup):
    """Lists commands by PANELS, as plain text: Typer's own panels need Rich, and help would wait for it."""

    def format_commands(self, ctx: "Context", formatter: "HelpFormatter") -> None:
        named = {name for names in PANELS.values() for name in names}
        others = tuple(name for name in self.commands if name not in named)
        width = max(map(len, self.commands))
        for panel, names in {**PANELS, "Others": others}.items():
            if names:
                with formatter.section(panel):
                    formatter.write_dl([(name.ljust(width), self._short(name, formatter)) for name in names])

    def _short(self, name: str, formatter: "HelpFormatter") -> str:
        return self.commands[name].get_short_help_str(formatter.width)


app = typer.Typer(
    cls=Pipeline,
    help="Teach one language model a new voice from a few examples, push it, and it is live.\n\n"
    "Start with `understudy demo`. Then: edit recipes/my-persona, `understudy train my-persona`, "
    "`understudy publish my-persona`. Every command explains itself: `understudy train --help`.\n\n"
    "Settings come from the environment, prefix UNDERSTUDY_ (for instance UNDERSTUDY_BASE).",
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    add_completion=False,
)
for part in (bases, data, train, evaluate, adopt, serve, export, votes, space, admin):
    app.add_typer(part.app)


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"understudy {__version__}")
        raise typer.Exit


@app.callback()
def root(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Understudy."""
