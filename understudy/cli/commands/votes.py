"""Commands for what people voted: rank, preferences, votes."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from understudy.cli.commands.options import Json, Persona
from understudy.config.settings import load_settings

app = typer.Typer()
votes_app = typer.Typer(help="Votes of the arena: kept on the Hub, and back again.", no_args_is_help=True)
app.add_typer(votes_app, name="votes", short_help="Keep battles and votes on the Hub, and bring them back.")


@app.command(short_help="Rank contestants by people's votes.")
def rank(
    votes: Annotated[
        Path | None,
        typer.Argument(help="CSV, JSONL or Parquet of left, right, winner; default: the arena's own votes."),
    ] = None,
    json_output: Annotated[bool, typer.Option("--json", help="Machine-readable: every figure.")] = False,
    base: Annotated[str, typer.Option(help="The contestant that the others are measured against.")] = "base",
    min_votes: Annotated[int, typer.Option(help="Votes below which a contestant is hidden.", min=1)] = 30,
    by: Annotated[str | None, typer.Option(help="Column to rank by, besides all votes.", metavar="COLUMN")] = None,
    bootstrap: Annotated[
        int, typer.Option(help="Intervals from so many resamples of the voters instead of the sandwich.", min=0)
    ] = 0,
    seed: Annotated[int, typer.Option(help="Seed of the resamples.")] = 0,
) -> None:
    """Rank contestants by people's votes: every figure of the leaderboard, explained in docs/arena.md."""
    from understudy.cli.rank import rank_votes

    settings = load_settings()
    rank_votes(
        settings, votes, json_output=json_output, base=base, min_votes=min_votes, by=by, bootstrap=bootstrap, seed=seed
    )


@app.command(short_help="Turn votes into rows to train on.")
def preferences(
    persona: Persona,
    out: Annotated[Path | None, typer.Option(help="File to write; default: standard output.", metavar="FILE")] = None,
    form: Annotated[
        Literal["dpo", "kto"], typer.Option("--format", help="dpo: pairs of answers; kto: answers, wanted or not.")
    ] = "dpo",
    json_output: Annotated[bool, typer.Option("--json", help="What became of the votes, machine-readable.")] = False,
) -> None:
    """Turn the arena's votes into rows to train on, split by prompt, each with the votes behind it."""
    from understudy.cli.preferences import export_preferences

    export_preferences(load_settings(), persona, out, form, json_output=json_output)


VotesRepoName = Annotated[
    str, typer.Argument(help="hub:ORG/NAME, a data set repository; default: UNDERSTUDY_VOTES_REPO.", metavar="REPO")
]


@votes_app.command("export")
def votes_export(
    repo: VotesRepoName = "",
    json_output: Json = False,
) -> None:
    """Send battles and votes that the repository does not have yet."""
    from understudy.cli.votes import export_votes

    export_votes(load_settings(), repo, json_output=json_output)


@votes_app.command("restore")
def votes_restore(
    repo: VotesRepoName = "",
    json_output: Json = False,
) -> None:
    """Add battles and votes of the repository that the database does not have; nothing is overwritten."""
    from understudy.cli.votes import restore_votes

    restore_votes(load_settings(), repo, json_output=json_output)
