"""`understudy votes`: battles and votes to a data set repository of the Hub, and back."""

import json
import logging

import typer

from space.deploy.vote_backup import VoteBackup
from space.deploy.votes_repo import VotesRepo
from understudy.config.settings import Settings
from understudy.errors import HubError
from understudy.registry.database import open_database


def export_votes(settings: Settings, repo: str, *, json_output: bool) -> None:
    """Sends what the repository has not acknowledged yet."""
    box = _box(settings, repo)
    sent = box.export()
    _say({"battles": len(sent.battles), "votes": len(sent.votes)}, "sent", json_output=json_output)


def restore_votes(settings: Settings, repo: str, *, json_output: bool) -> None:
    """Adds what the repository has and the database has not; says which files could not be used."""
    outcome = _box(settings, repo).restore()
    counts = {"battles": outcome.battles, "votes": outcome.votes}
    if json_output:
        typer.echo(json.dumps({**counts, "problems": outcome.problems}))
        return
    for problem in outcome.problems:
        typer.echo(problem, err=True)
    _say(counts, "restored", json_output=False)


def _say(counts: dict[str, int], what: str, *, json_output: bool) -> None:
    typer.echo(json.dumps(counts) if json_output else f"{counts['battles']} battles and {counts['votes']} votes {what}")


def _box(settings: Settings, repo: str) -> VoteBackup:
    name = repo or settings.votes_repo
    if not name:
        raise HubError("say which repository: hub:ORG/NAME, or set UNDERSTUDY_VOTES_REPO")
    logging.getLogger("space.votes").setLevel(logging.ERROR)  # what it would log, we say
    token = settings.votes_token.get_secret_value() if settings.votes_token else ""
    there = VotesRepo(name, token=token, endpoint=settings.hub_endpoint)
    engine = open_database(settings.database)
    return VoteBackup(engine, there, every=settings.votes_every, batch=settings.votes_batch)
