"""`understudy push`: an adapter to the registry of this machine, or with card and proof to the Hub."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console

from understudy.cli.console import prepare, status
from understudy.config.recipe import Recipe, load_recipe, recipe_names
from understudy.config.settings import Settings
from understudy.errors import NotFoundError, UnderstudyError
from understudy.registry.actor import actor
from understudy.registry.adapters import CARD, short
from understudy.registry.registry import Registry, Revision, open_registry
from understudy.workflows.recipe_card import card_of

if TYPE_CHECKING:
    from evaluate.verified_runs import VerifiedRun
    from train.hub.push import Pushed
    from train.hub.release import Release

out = Console(highlight=False, soft_wrap=True)
REGISTRY = "registry"


def push_persona(
    settings: Settings,
    persona: str,
    adapter: str | None,
    *,
    to: str | None,
    base: str,
    private: bool,
    gated: bool,
    tag: str,
    force: bool,
    json_output: bool,
) -> None:
    """Sends `adapter` (a folder or a run; by default what was trained last) to `to`, else where the recipe says."""
    recipe = load_recipe(persona, settings.recipes_dir) if persona in recipe_names(settings.recipes_dir) else None
    to = to or (recipe.push_to if recipe else None) or REGISTRY
    if to == REGISTRY:
        if private or gated or tag or base or force:
            raise UnderstudyError(
                "--private, --gated, --tag, --base and --force are for the Hub; add --to hub:ORG/REPO"
            )
        revision = register(settings, open_registry(settings), persona, find_adapter(settings, persona, adapter))
        print(json.dumps({"persona": persona, "to": REGISTRY, "revision": revision.id}) if json_output else revision.id)
        return
    from train.hub.push import push_release, repo_of

    repo = repo_of(to)
    prepare()
    with status("reading the release") as say:
        folder = _product(settings, persona, adapter)
        files, verdict = _files(persona, recipe, folder, repo, base, force=force)
        say(f"talking to the Hub about {repo}")
    pushed = push_release(
        repo,
        files,
        message=f"{persona}: {verdict}",
        private=private,
        gated=gated,
        tag=tag,
        endpoint=settings.hub_endpoint,
        progress=out.is_terminal and not json_output,
    )
    _print(persona, pushed, verdict, json_output=json_output)


def register(settings: Settings, registry: Registry, persona: str, folder: Path | None) -> Revision:
    """Registers the adapter in `folder`, or the newest of the recipe of that name, as a revision of the persona."""
    card = None
    if persona in recipe_names(settings.recipes_dir):
        card = card_of(load_recipe(persona, settings.recipes_dir))
    return registry.push(persona, folder or _newest(settings, persona, whole=False), card=card, actor=actor())


def find_adapter(settings: Settings, persona: str, adapter: str | None) -> Path | None:
    """The folder that a person means: a folder with an adapter or a run in it, or the start of a run's id."""
    if not adapter:
        return None
    folder = Path(adapter).expanduser()
    if not folder.is_dir():
        runs = sorted(p for p in (settings.runs_dir / persona).glob(f"{adapter}*") if p.is_dir())
        if "/" in adapter or len(runs) != 1:
            problem = "several runs begin so" if len(runs) > 1 else "no such folder, and no run begins so"
            known = ", ".join(p.name for p in sorted((settings.runs_dir / persona).glob("*"))) or "none"
            raise NotFoundError(f"{adapter}: {problem}; runs of {persona} there are: {known}")
        folder = runs[0]
    return next((p for p in (folder / "adapter", folder / "model") if p.is_dir()), folder)


def _product(settings: Settings, persona: str, adapter: str | None) -> Path:
    return find_adapter(settings, persona, adapter) or _newest(settings, persona, whole=True)


def _newest(settings: Settings, persona: str, *, whole: bool) -> Path:
    from train.runs import newest_adapter, newest_product

    found = (newest_product if whole else newest_adapter)(persona, settings.runs_dir)
    if found is None:
        raise NotFoundError(f"{persona} has no finished run in {settings.runs_dir}; `understudy train {persona}` first")
    return found


def _files(
    persona: str, recipe: Recipe | None, folder: Path, repo: str, base: str, *, force: bool
) -> tuple[dict[str, bytes | Path], str]:
    """What goes to the Hub, and the verdict in words.

    Raises:
        UnderstudyError: it was refused by its evaluation or never verified, and `force` is not given.
    """
    from evaluate.verified_runs import proof_file
    from train.hub.model_card import CardFacts, model_card
    from train.hub.release import PROOF, README, as_json, base_here, read_release, tokenizer_files
    from understudy.cli.card_proof import card_proof

    release = read_release(folder, base)
    run = _verified(release)
    verdict = _verdict(run)
    if not force and (run is None or not run.verdict.passed):
        remedy = f"run `understudy verify {persona}` first" if run is None else "make it better"
        raise UnderstudyError(f"{persona} is {verdict}; {remedy}, or push it with --force: the card will say so")
    files = {**release.files, **tokenizer_files(release, base_here(release))}
    if run:
        files[PROOF] = as_json({**proof_file(run.card), "base": release.base.name})
    facts = CardFacts(
        name=persona,
        title=recipe.title if recipe else persona,
        voice=recipe.voice if recipe else "",
        prompts=tuple(recipe.prompts) if recipe else (),
        base=release.base,
        repo=repo,
        whole=release.whole,
        rank=release.rank,
        run=release.run,
        cost=release.cost,
        datasets=_datasets(recipe, release),
        proof=card_proof(run) if run else None,
    )
    files[README] = model_card(facts).encode()
    if recipe:
        files[CARD] = as_json(card_of(recipe, release.run.get("rows")))
    return files, verdict


def _verified(release: "Release") -> "VerifiedRun | None":
    """The evaluation of this very content; None where it was never verified, or changed since."""
    from evaluate.verified_runs import RECORD, REPORT_CARD, load_run
    from train.hub.release import content_of

    run = release.folder.parent
    if not ((run / REPORT_CARD).is_file() and (run / RECORD).is_file()):
        return None
    verified = load_run(run)
    return verified if verified.card.revision == content_of(release) else None


def _verdict(run: "VerifiedRun | None") -> str:
    if run is None:
        return "not verified"
    if not run.verdict.passed:
        return f"refused by its proof ({'; '.join(run.verdict.reasons)})"
    return f"passed its proof on {run.card.prompts} prompts"


def _datasets(recipe: Recipe | None, release: "Release") -> tuple[str, ...]:
    """Hub ids of the data it was trained with."""
    if not recipe or not recipe.data or not release.base.hub or not recipe.data.source.startswith("hub:"):
        return ()
    return (recipe.data.source.removeprefix("hub:").split("@")[0].split(":")[0],)


def _print(persona: str, pushed: "Pushed", verdict: str, *, json_output: bool) -> None:
    if json_output:
        told: dict[str, Any] = {"persona": persona, "to": f"hub:{pushed.repo}", "repo": pushed.repo}
        told |= {"commit": pushed.commit, "tag": pushed.tag, "new": pushed.new, "url": pushed.url, "verdict": verdict}
        print(json.dumps(told))
        return
    if pushed.new:
        out.print(f"pushed {persona} as {pushed.tag}, commit {short(pushed.commit)}: {pushed.url}")
    else:
        out.print(f"already there as {pushed.tag}, commit {short(pushed.commit)}: {pushed.url}")
    out.print(
        f"A gateway that follows {pushed.repo} (personas.yaml) puts it on stage by itself; to check it first: "
        f"understudy validate {pushed.repo}@{pushed.tag}",
        style="dim",
    )
