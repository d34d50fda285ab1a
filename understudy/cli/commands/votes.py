"""Commands for people's votes: rank, preferences, votes."""

import json
import logging
from pathlib import Path
from typing import Annotated, Literal

import typer

from understudy.cli.commands.options import Json, Persona
from understudy.config.settings import load_settings
from understudy.terminal import printable

app = typer.Typer()
votes_app = typer.Typer(help="Back up the arena's votes on the Hub, and restore them.", no_args_is_help=True)
app.add_typer(votes_app, name="votes", short_help="Back up battles and votes on the Hub; restore them.")


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
        int, typer.Option(help="Intervals from this many resamples of the voters; 0: sandwich estimator.", min=0)
    ] = 0,
    seed: Annotated[int, typer.Option(help="Seed of the resamples.")] = 0,
    both_bad: Annotated[
        Literal["tie", "out"],
        typer.Option(help='"Both bad" in the scores of other methods: tie (half a win each, as LMArena does) or out.'),
    ] = "tie",
) -> None:
    """Rank contestants by people's votes: every figure of the leaderboard, explained in docs/arena.md."""
    from arena.ranking.rank_votes import rank_votes

    board = rank_votes(
        load_settings(),
        votes,
        base=base,
        min_votes=min_votes,
        by=by,
        bootstrap=bootstrap,
        seed=seed,
        both_bad=both_bad,
    )
    if json_output:
        print(board.model_dump_json(indent=2))
    else:
        from understudy.cli.show_leaderboard import show_leaderboard

        show_leaderboard(board)


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
    from understudy.cli.show_preferences import show_export
    from understudy.workflows.train_from_votes import export_preferences

    exported = export_preferences(load_settings(), persona, out, form)
    show_export(exported, with_rows=out is None, json_output=json_output)


VotesRepoName = Annotated[
    str, typer.Argument(help="hub:ORG/NAME, a data set repository; default: UNDERSTUDY_VOTES_REPO.", metavar="REPO")
]


@votes_app.command("export")
def votes_export(
    repo: VotesRepoName = "",
    json_output: Json = False,
) -> None:
    """Send battles and votes that the repository does not have yet."""
    from space.deploy.deploy_space import vote_backup

    _silence_log()
    sent = vote_backup(load_settings(), repo).export()
    battles, votes = len(sent.battles), len(sent.votes)
    print(
        json.dumps({"battles": battles, "votes": votes}) if json_output else f"{battles} battles and {votes} votes sent"
    )


@votes_app.command("restore")
def votes_restore(
    repo: VotesRepoName = "",
    json_output: Json = False,
) -> None:
    """Add battles and votes of the repository that the database does not have; nothing is overwritten."""
    from space.deploy.deploy_space import vote_backup

    _silence_log()
    restored = vote_backup(load_settings(), repo).restore()
    battles, votes = restored.battles, restored.votes
    if json_output:
        print(json.dumps({"battles": battles, "votes": votes, "problems": restored.problems}))
        return
    for problem in restored.problems:
        typer.echo(printable(problem), err=True)
    print(f"{battles} battles and {votes} votes restored")


def _silence_log() -> None:
    """Keeps the backup's log off the terminal: the command prints the same itself."""
    logging.getLogger("space.votes").setLevel(logging.ERROR)
