"""`understudy push`: registers an adapter on this machine, or sends it to the Hub with its card and its evaluation."""

import shlex
from collections.abc import Callable
from dataclasses import dataclass
from operator import attrgetter
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from understudy.config.recipe import Recipe
from understudy.config.settings import Settings
from understudy.errors import NotFoundError, UnderstudyError
from understudy.registry.adapters import CARD
from understudy.registry.records import Revision
from understudy.registry.registry import open_registry
from understudy.workflows.adopt_adapter import on_base
from understudy.workflows.personas import card_of, recipe_of, register

if TYPE_CHECKING:
    from evaluate.report_card import ReportCard
    from evaluate.verified_runs import VerifiedRun
    from train.hub.model_card import CardFigure, CardProof
    from train.hub.push import Pushed
    from train.hub.release import Release
    from understudy.statistics.intervals import Estimate

REGISTRY = "registry"

COMPARED: tuple[tuple[str, str, Literal["share", "number"]], ...] = (
    ("sound", "in style and make sense", "share"),
    ("in_style", "style: in style", "share"),
    ("accuracy.meaning", "accuracy: nearest to the own reference", "share"),
    ("accuracy.details", "accuracy of details (the prompt's words masked)", "share"),
    ("accuracy.chrf", "accuracy by characters (chrF)", "share"),
    ("fluency.excess", "fluency: nats a token above the data's", "number"),
    ("fluency.made_up", "fluency: words that do not exist", "share"),
    ("on_topic", "on topic", "share"),
    ("stopped", "end by themselves", "share"),
    ("echoes", "repeat the prompt", "share"),
    ("degenerate", "are no answers", "share"),
    ("words", "words", "number"),
    ("loss", "loss on the data's answers, nats a token", "number"),
)
"""Figures of all contestants: attribute of the report card's measures, label, scale."""

CODE: tuple[tuple[str, str, Literal["share", "number"]], ...] = (
    ("parses", "code that parses", "share"),
    ("runs", "code that runs to its end", "share"),
    ("chrf", "likeness of code to the data's (chrF, 0 to 100)", "number"),
)
"""The same of the code in their answers."""


@dataclass(frozen=True)
class FoundProof:
    """The evaluation of an adapter's content, if there is one that counts."""

    run: "VerifiedRun | None"
    why: str = ""
    """Why an evaluation was found and is not used; else empty."""


NOT_VERIFIED = FoundProof(None)


@dataclass(frozen=True)
class HubRelease:
    """A release on the Hub, and what its evaluation says."""

    pushed: "Pushed"
    verdict: str


def register_adapter(settings: Settings, persona: str, adapter: str | None, *, base_is: str = "") -> Revision:
    """Registers `adapter` (a folder or a run; by default the newest run's) as a revision of the persona.

    `base_is` names the base here that the adapter's own name for its base means.

    Raises:
        NotFoundError: there is no such folder or run.
        AdapterError: it is no adapter.
    """
    folder = find_adapter(settings, persona, adapter) or _newest(settings, persona, whole=False)
    with on_base(folder, base_is) as named:
        return register(settings, open_registry(settings), persona, named)


def destination(settings: Settings, persona: str, to: str | None) -> str:
    """Returns where a push goes: `to`, else the recipe's `push_to`, else `registry`."""
    recipe = None if to else recipe_of(settings, persona)
    return to or (recipe.push_to if recipe else None) or REGISTRY


def push_to_hub(
    settings: Settings,
    persona: str,
    adapter: str | None,
    *,
    to: str,
    base: str,
    private: bool,
    gated: bool,
    tag: str,
    force: bool,
    progress: bool = False,
    say: Callable[[str], None] = lambda _: None,
) -> HubRelease:
    """Sends `adapter` (a folder or a run; by default what was trained last) to `to`, written `hub:ORG/REPO`.

    `base` is the Hub id of a base that was a local folder; `force` pushes also what is refused or not verified.
    `progress` shows the Hub client's bars; `say` is told what is being done.

    Raises:
        NotFoundError: there is no such folder or run.
        UnderstudyError: it was refused by its evaluation or never verified, and `force` is not given.
        HubError: the Hub refuses or cannot be reached.
    """
    from train.hub.push import push_release, repo_of

    repo = repo_of(to)
    folder = find_adapter(settings, persona, adapter) or _newest(settings, persona, whole=True)
    recipe = recipe_of(settings, persona)
    runs = settings.runs_dir / persona
    files, verdict = _files(persona, recipe, runs, folder, repo, base, space=settings.space_repo, force=force)
    say(f"talking to the Hub about {repo}")
    pushed = push_release(
        repo,
        files,
        message=f"{persona}: {verdict}",
        private=private,
        gated=gated,
        tag=tag,
        endpoint=settings.hub_endpoint,
        progress=progress,
    )
    return HubRelease(pushed, verdict)


def find_adapter(settings: Settings, persona: str, adapter: str | None) -> Path | None:
    """Returns the folder that `adapter` means: a folder with an adapter or a run in it, or the start of a run's id.

    None where nothing is given. Raises NotFoundError.
    """
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


def _newest(settings: Settings, persona: str, *, whole: bool) -> Path:
    from train.runs import newest_adapter, newest_product

    found = (newest_product if whole else newest_adapter)(persona, settings.runs_dir)
    if found is None:
        raise NotFoundError(f"{persona} has no finished run in {settings.runs_dir}; `understudy train {persona}` first")
    return found


def _files(
    persona: str, recipe: Recipe | None, runs: Path, folder: Path, repo: str, base: str, *, space: str, force: bool
) -> tuple[dict[str, bytes | Path], str]:
    """Returns what goes to the Hub, and the verdict in words. Raises UnderstudyError as `push_to_hub`."""
    from evaluate.verified_runs import proof_file
    from train.hub.model_card import CardFacts, model_card
    from train.hub.release import PROOF, README, as_json, base_here, read_release, tokenizer_files

    release = read_release(folder, base)
    found = find_proof(runs, release, recipe)
    run, verdict = found.run, _verdict(found)
    if not force and (run is None or not run.verdict.passed):
        verify = f"understudy verify {persona} --adapter {shlex.quote(str(folder))}"
        remedy = f"run `{verify}` first" if run is None else "make it better"
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
        space=space,
        whole=release.whole,
        rank=release.rank,
        run=release.run,
        cost=release.cost,
        datasets=_datasets(recipe, release),
        proof=_card_proof(run) if run else None,
    )
    files[README] = model_card(facts).encode()
    if recipe:
        files[CARD] = as_json(card_of(recipe, release.run.get("rows")))
    return files, verdict


def find_proof(runs: Path, release: "Release", recipe: Recipe | None) -> FoundProof:
    """Returns the evaluation of the release's content, or why it is not used; `runs` has the recipe's runs.

    It is beside the adapter, or where `understudy verify` puts that of an adapter that is no run.
    """
    from train.hub.release import content_of
    from understudy.workflows.evaluation.proof_files import evaluation_folder

    revision = content_of(release)
    places = dict.fromkeys([release.folder.parent, evaluation_folder(runs, release.folder, revision)])
    found = [_proof_in(place, revision, recipe) for place in places]
    return next((one for one in found if one.run), None) or next((one for one in found if one.why), NOT_VERIFIED)


def _proof_in(place: Path, revision: str, recipe: Recipe | None) -> FoundProof:
    from evaluate.verified_runs import RECORD, REPORT_CARD, load_run
    from understudy.workflows.evaluation.proof_files import judges_its_record, outdated

    if not ((place / REPORT_CARD).is_file() and (place / RECORD).is_file()):
        return NOT_VERIFIED
    run = load_run(place)
    if run.card.revision != revision:
        return NOT_VERIFIED
    if not judges_its_record(place):
        return FoundProof(None, f"its {REPORT_CARD} judges another {RECORD} than the one beside it")
    why = outdated(place, run.card, recipe) if recipe else ""
    return FoundProof(None if why else run, why)


def _verdict(found: FoundProof) -> str:
    run = found.run
    if run is None:
        return f"not verified ({found.why})" if found.why else "not verified"
    if not run.verdict.passed:
        return f"refused by its proof ({'; '.join(run.verdict.reasons)})"
    return f"passed its proof on {run.card.prompts} prompts"


def _datasets(recipe: Recipe | None, release: "Release") -> tuple[str, ...]:
    """Returns the Hub ids of the data it was trained with."""
    if not recipe or not recipe.data or not release.base.hub or not recipe.data.source.startswith("hub:"):
        return ()
    return (recipe.data.source.removeprefix("hub:").split("@")[0].split(":")[0],)


def _card_proof(run: "VerifiedRun") -> "CardProof":
    """Returns what the model card shows of an evaluation: figures, verdict, the first answers side by side."""
    from train.hub.model_card import SAMPLES, CardProof, CardSample

    card, verdict, record = run.card, run.verdict, run.record
    answers = [record.outputs[name].answers for name in ("base", "few-shot", "adapter")]
    rows = list(zip(record.heldout, *answers, strict=True))[:SAMPLES]
    return CardProof(
        prompts=card.prompts,
        shots=card.contestants["few-shot"].shots,
        figures=(*_compared(card), *_of_adapter(card)),
        reasons=verdict.reasons,
        worse=verdict.worse,
        rivals=verdict.rivals,
        unmeasured=verdict.open,
        samples=tuple(CardSample(row.prompt, *(answer.text for answer in texts)) for row, *texts in rows),
    )


def _compared(card: "ReportCard") -> list["CardFigure"]:
    from train.hub.model_card import CardFigure

    figures = []
    for prefix, lines, measured in (("", COMPARED, card.contestants), ("code_", CODE, card.code)):
        for key, label, scale in lines if measured else ():
            found = {name: attrgetter(key)(one) for name, one in measured.items()}
            if mine := found["adapter"]:
                rivals = (found.get(name) for name in ("base", "few-shot", "described"))
                figures.append(CardFigure(f"{prefix}{key.replace('.', '_')}", label, scale, mine, *rivals))
    return figures


def _of_adapter(card: "ReportCard") -> list["CardFigure"]:
    """Returns what is measured of the adapter only."""
    from train.hub.model_card import CardFigure

    lines: tuple[tuple[str, str, Literal["share", "number"], Estimate | None], ...] = (
        ("against_base", "loss below the base's, nats a token", "number", card.against_base),
        ("copied", "answers copied from training answers", "share", card.copied),
        ("memorised", "training rows known word for word", "share", card.memorised),
        ("forgetting", "loss above the base's on neutral text, nats a token", "number", card.forgetting),
        ("helpful", "helpfulness: comparisons with the base that it wins", "share", card.helpful),
        ("general", "general questions still correct", "share", card.general.adapter if card.general else None),
        ("acts", "acts: held-out answers that it finds more or less likely than the base does", "share", card.acts),
        ("style_accuracy", "style classifier right on unseen texts", "share", card.style_accuracy),
    )
    return [CardFigure(key, label, scale, mine) for key, label, scale, mine in lines if mine]
