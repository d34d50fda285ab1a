"""`understudy space deploy` and `understudy votes`: what the settings say about a Space and its votes repository."""

import dataclasses
import re
from pathlib import Path

import yaml

from space.deploy.deploy import DeployResult, Values, deploy, require_endpoint
from space.deploy.files import ZEROGPU, SpaceSpec
from space.deploy.static_page import page_base
from space.deploy.vote_backup import VoteBackup
from space.deploy.votes_repo import TIMEOUT, VotesRepo
from understudy.bases import known_base
from understudy.config.recipe import NAME
from understudy.config.settings import Settings
from understudy.errors import ConfigError, DeployError
from understudy.registry.database import open_database
from understudy.registry.hub import hub_api


def deploy_space(settings: Settings, spec: SpaceSpec, *, endpoint: str, private: bool, dry_run: bool) -> DeployResult:
    """Makes or updates a Space with the variables and secrets that follow from the settings.

    `endpoint` is the gateway's public address, for a Space of the flavor gradio. With `dry_run` nothing is sent.

    Raises:
        DeployError: the options contradict each other, or the Hub refuses.
    """
    if spec.flavor == "static" or spec.page:
        return _deploy_page(settings, spec, endpoint=endpoint, private=private, dry_run=dry_run)
    if spec.flavor == "zerogpu":
        spec = _zerogpu(settings, spec)
    base = spec.base or settings.base
    if "/" in base and not Path(base).exists() and base not in spec.models:
        spec = dataclasses.replace(spec, models=(base, *spec.models))
    spec = _with_personas(settings, spec)
    values = Values(_variables(settings, spec, endpoint, private), _secrets(settings, spec))
    return deploy(hub_api(settings.hub_endpoint, timeout=TIMEOUT), spec, values, private=private, dry_run=dry_run)


def _deploy_page(settings: Settings, spec: SpaceSpec, *, endpoint: str, private: bool, dry_run: bool) -> DeployResult:
    if spec.page is None:
        raise DeployError("say which page: --page FOLDER, as `understudy export PERSONA --to web` writes it")
    if spec.flavor != "static":
        raise DeployError("--page is for --flavor static")
    unused = {
        "--endpoint": endpoint,
        "--hardware": spec.hardware,
        "--dataset": spec.dataset,
        "--oauth": spec.oauth,
        "--recipe": spec.recipes,
    }
    given = [name for name, value in unused.items() if value]
    if given:
        raise DeployError(f"a Static Space is files alone, nothing runs there: leave {', '.join(given)} out")
    base = page_base(spec.page)
    if "/" in base and not Path(base).exists() and base not in spec.models:
        spec = dataclasses.replace(spec, models=(base, *spec.models))
    return deploy(hub_api(settings.hub_endpoint, timeout=TIMEOUT), spec, Values(), private=private, dry_run=dry_run)


def vote_backup(settings: Settings, repo: str) -> VoteBackup:
    """Returns the backup of this installation's votes in `repo`, by default UNDERSTUDY_VOTES_REPO.

    Raises:
        ConfigError: no repository is named.
        HubError: its name is malformed.
    """
    name = repo or settings.votes_repo
    if not name:
        raise ConfigError("say which repository: hub:ORG/NAME, or set UNDERSTUDY_VOTES_REPO")
    token = settings.votes_token.get_secret_value() if settings.votes_token else ""
    votes_repo = VotesRepo(name, token=token, endpoint=settings.hub_endpoint)
    engine = open_database(settings.database)
    return VoteBackup(engine, votes_repo, every=settings.votes_every, batch=settings.votes_batch)


def _with_personas(settings: Settings, spec: SpaceSpec) -> SpaceSpec:
    """Adds the personas file that the Space follows, and what it names to the models that its README lists."""
    if spec.flavor != "docker" and spec.recipes:
        raise DeployError("--recipe is for --flavor docker: a Gradio Space trains nothing")
    path = settings.personas_file
    if spec.flavor == "gradio" or path is None:
        return spec
    try:
        personas = path.read_bytes()
        followed = [str(one["repo"]) for one in (yaml.safe_load(personas) or {}).values()]
    except OSError as error:
        raise DeployError(f"{path} (UNDERSTUDY_PERSONAS_FILE) cannot be read: {error.strerror}") from None
    except (yaml.YAMLError, AttributeError, KeyError, TypeError):
        raise DeployError(f"{path} (UNDERSTUDY_PERSONAS_FILE): write `persona: {{repo: organisation/name}}`") from None
    return dataclasses.replace(spec, personas=personas, models=tuple(dict.fromkeys((*spec.models, *followed))))


def _zerogpu(settings: Settings, spec: SpaceSpec) -> SpaceSpec:
    """Adds the base by its name on the Hub, the hardware, and the personas: of the file, else of the named models."""
    if "/" in settings.base and Path(settings.base).exists():
        raise DeployError(f"the base {settings.base} is a folder of this machine: give one of the Hub, or smollm2")
    known = known_base(settings.base)
    spec = dataclasses.replace(
        spec, base=(known.hub_id if known else "") or settings.base, hardware=spec.hardware or ZEROGPU
    )
    if settings.personas_file is not None:
        return spec
    if not spec.models:
        raise DeployError("say which adapters it follows: --model ORG/NAME, or a file in UNDERSTUDY_PERSONAS_FILE")
    names = {repo.rpartition("/")[2].lower(): {"repo": repo} for repo in spec.models}
    for name in names:
        if not re.fullmatch(NAME, name) or name == "base":
            raise DeployError(f"--model: {name!r} cannot be a persona's name; name it in UNDERSTUDY_PERSONAS_FILE")
    if len(names) < len(spec.models):
        raise DeployError("--model: two repositories have one name; name them in UNDERSTUDY_PERSONAS_FILE")
    return dataclasses.replace(spec, personas=yaml.safe_dump(names).encode())


def _variables(settings: Settings, spec: SpaceSpec, endpoint: str, private: bool) -> dict[str, str]:
    found: dict[str, str] = {}
    if spec.flavor == "gradio":
        if not endpoint:
            raise DeployError("say where the gateway is: --endpoint https://models.example.org")
        found["UNDERSTUDY_GATEWAY_URL"] = require_endpoint(endpoint, private=private)
    elif spec.flavor == "zerogpu":
        if endpoint:
            raise DeployError("a ZeroGPU Space holds base and adapters itself: leave --endpoint out")
        found["UNDERSTUDY_BASE"] = spec.base
    elif endpoint:
        raise DeployError("a Docker Space runs engine and gateway itself: leave --endpoint out, or use --flavor gradio")
    else:
        if "/" in settings.base and Path(settings.base).exists():
            raise DeployError(f"the base {settings.base} is a folder of this machine: give one of the Hub, or smollm2")
        found["UNDERSTUDY_BASE"] = settings.base
    if spec.dataset:
        found["UNDERSTUDY_VOTES_REPO"] = VotesRepo(f"hub:{spec.dataset}").name
    return found


def _secrets(settings: Settings, spec: SpaceSpec) -> dict[str, str]:
    """Returns the keys that are set here and mean something there; never the deployer's own token."""
    found: dict[str, str] = {}
    if spec.flavor == "zerogpu":
        keys = {"ADMIN_KEY": settings.admin_key, "WEBHOOK_SECRET": settings.webhook_secret}
        found |= {f"UNDERSTUDY_{name}": key.get_secret_value() for name, key in keys.items() if key}
    if settings.api_key and spec.flavor == "gradio":
        found["UNDERSTUDY_API_KEY"] = settings.api_key.get_secret_value()
    if settings.votes_token and spec.dataset:
        found["UNDERSTUDY_VOTES_TOKEN"] = settings.votes_token.get_secret_value()
    return found
