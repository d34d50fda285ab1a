"""`understudy space deploy`: the app on Hugging Face Spaces."""

import dataclasses
import json
from pathlib import Path

import typer

from space.deploy.deploy import DeployResult, Values, deploy, require_endpoint
from space.deploy.files import SpaceSpec
from space.deploy.hub import hub_api
from space.deploy.votes_repo import VotesRepo
from understudy.config.settings import Settings
from understudy.errors import DeployError


def deploy_space(
    settings: Settings, wish: SpaceSpec, *, endpoint: str, private: bool, dry_run: bool, json_output: bool
) -> None:
    """Makes or updates a Space and says what was done.

    Raises:
        DeployError: what was asked for cannot be.
    """
    base = settings.base
    if "/" in base and not Path(base).exists() and base not in wish.models:
        wish = dataclasses.replace(wish, models=(base, *wish.models))
    wish = _with_personas(settings, wish)
    values = Values(_variables(settings, wish, endpoint, private), _secrets(settings, wish))
    outcome = deploy(hub_api(settings.hub_endpoint), wish, values, private=private, dry_run=dry_run)
    if wish.dataset and not settings.votes_token:
        typer.echo(
            f"votes: set the secret UNDERSTUDY_VOTES_TOKEN of the Space, a token that may write {wish.dataset}",
            err=True,
        )
    if json_output:
        typer.echo(json.dumps(dataclasses.asdict(outcome), indent=2))
    else:
        _say(outcome, dry_run=dry_run)


def _with_personas(settings: Settings, wish: SpaceSpec) -> SpaceSpec:
    if wish.flavor == "gradio":
        if wish.recipes:
            raise DeployError("--recipe is for --flavor docker: a Gradio Space trains and serves nothing")
        return wish
    path = settings.personas_file
    if path is None:
        return wish
    try:
        return dataclasses.replace(wish, personas=path.read_bytes())
    except OSError as error:
        raise DeployError(f"{path} (UNDERSTUDY_PERSONAS_FILE) cannot be read: {error.strerror}") from None


def _variables(settings: Settings, wish: SpaceSpec, endpoint: str, private: bool) -> dict[str, str]:
    found: dict[str, str] = {}
    if wish.flavor == "gradio":
        if not endpoint:
            raise DeployError("say where the gateway is: --endpoint https://models.example.org")
        found["UNDERSTUDY_GATEWAY_URL"] = require_endpoint(endpoint, private=private)
    elif endpoint:
        raise DeployError("a Docker Space runs engine and gateway itself: leave --endpoint out, or use --flavor gradio")
    else:
        if "/" in settings.base and Path(settings.base).exists():
            raise DeployError(f"the base {settings.base} is a folder of this machine: give one of the Hub, or smollm2")
        found["UNDERSTUDY_BASE"] = settings.base
    if wish.dataset:
        found["UNDERSTUDY_VOTES_REPO"] = VotesRepo(f"hub:{wish.dataset}").name
    return found


def _secrets(settings: Settings, wish: SpaceSpec) -> dict[str, str]:
    """The gateway's key, and the token for votes; never the token of whoever deploys."""
    found: dict[str, str] = {}
    if settings.api_key and wish.flavor == "gradio":
        found["UNDERSTUDY_API_KEY"] = settings.api_key.get_secret_value()
    if settings.votes_token and wish.dataset:
        found["UNDERSTUDY_VOTES_TOKEN"] = settings.votes_token.get_secret_value()
    return found


def _say(outcome: DeployResult, *, dry_run: bool) -> None:
    for sign, paths in (("+", outcome.added), ("~", outcome.changed), ("-", outcome.removed)):
        for path in paths if dry_run else ():
            typer.echo(f"{sign} {path}")
    would = "would be " if dry_run else ""
    counts = f"{len(outcome.added)} files added, {len(outcome.changed)} changed, {len(outcome.removed)} removed"
    typer.echo(
        f"{outcome.url} {would}{'created' if outcome.created else 'updated' if outcome.differs else 'unchanged'}"
    )
    commit = f", commit {outcome.commit[:12]}" if outcome.commit else ""
    typer.echo(f"  {counts if outcome.differs else 'no file differs'}{commit}")
    for what, names in (("variables", outcome.variables), ("secrets", outcome.secrets)):
        if names:
            typer.echo(f"  {what} {would}set: {', '.join(names)}")
    if outcome.hardware:
        typer.echo(f"  hardware {would}asked for: {outcome.hardware}")
