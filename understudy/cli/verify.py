"""`understudy verify`: the proof pack of an adapter, its table and its verdict."""

import json
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console
from rich.table import Table

from understudy.adapters import short
from understudy.bases import require_base, resolve_base
from understudy.cli.training import prepare, status
from understudy.errors import ExamplesError, NotFoundError
from understudy.recipes import load_recipe
from understudy.settings import Settings
from understudy.training import Training

if TYPE_CHECKING:
    from arena.intervals import Estimate
    from arena.proof import ProofPack

out = Console(highlight=False, soft_wrap=True)
LEAST = 2
SETTINGS = "training.json"
"""What `understudy train` leaves in the adapter's folder."""


def verify_recipe(settings: Settings, name: str, adapter: Path | None, *, json_output: bool) -> bool:
    """Observes and judges an adapter of a recipe (by default the one trained last); whether it passed.

    Writes `testimony.json` (everything observed) and `proof.json` (figures and verdict) beside the adapter's folder.
    """
    prepare()
    recipe = load_recipe(name, settings.recipes_dir)
    with status("loading libraries"):
        from arena.proof import prove
        from train.runs import newest_product
        from train.witness import observe
    folder = adapter or newest_product(recipe.name, settings.runs_dir)
    if folder is None:
        raise NotFoundError(f"{recipe.name} has no finished run; train one first: understudy train {recipe.name}")
    made = _made_with(folder)
    base = require_base(str(made.get("base") or recipe.base or settings.base))
    if len(recipe.load_heldout(base.name)) < LEAST:
        raise ExamplesError(
            f"{recipe.heldout_at(base.name)}: verify needs at least {LEAST} held-out rows, better twenty"
        )
    training = Training.model_validate(made["training"]) if "training" in made else recipe.training_for(base.name)
    with status("verifying") as say:
        testimony = observe(
            recipe, resolve_base(base.name), folder, training, max_tokens=recipe.sampling.max_tokens, on_stage=say
        )
        say("measuring")
        pack = prove(testimony, recipe.proof)
    for file, record in (("testimony.json", testimony), ("proof.json", pack)):
        (folder.parent / file).write_text(record.model_dump_json(indent=2))
    if json_output:
        print(json.dumps({"passed": pack.passed, **pack.model_dump()}))
    else:
        _print(pack, folder, testimony.seconds)
    return pack.passed


def _made_with(folder: Path) -> dict:
    try:
        return json.loads((folder / SETTINGS).read_text())
    except (OSError, json.JSONDecodeError):
        return {}


def _print(pack: "ProofPack", folder: Path, seconds: float) -> None:
    shots = pack.contestants["few-shot"].shots
    table = Table(
        "on held-out prompts",
        "base",
        f"base + {shots} shots",
        "adapter",
        title=f"{pack.recipe}@{short(pack.revision)} on {pack.base}: {pack.prompts} prompts, {pack.examples} examples",
    )
    rows = (
        ("in style", "in_style", True),
        ("end by themselves", "stopped", True),
        ("on topic", "on_topic", True),
        ("repeat the prompt", "echoes", True),
        ("are no answers", "degenerate", True),
        ("words", "words", False),
        ("loss, nats a token", "loss", False),
    )
    for label, field, share in rows:
        table.add_row(label, *(_shown(getattr(one, field), share) for one in pack.contestants.values()))
    out.print(table)
    out.print(f"style classifier right on unseen prompts: {_shown(pack.style_accuracy, True)}")
    out.print(f"copied from training answers: {_shown(pack.copied, True)}")
    out.print(f"training rows known word for word: {_shown(pack.memorised, True)}")
    own, data = pack.diversity.answers, pack.diversity.training
    out.print(f"different word pairs: {own.distinct_2:.0%} of the answers', {data.distinct_2:.0%} of the examples'")
    out.print(f"loss on training rows: {pack.training_loss:.2f}")
    if pack.skills_adapter is not None:
        out.print(f"questions that the base has right: {_shown(pack.skills_adapter, True)} still right")
    if pack.parity is not None:
        out.print(f"served base against trained-on base: {pack.parity:+.3f} nats")
    for line in pack.worse:
        out.print(f"got worse: {line}", style="yellow")
    for line in pack.reasons:
        out.print(f"refused: {line}", style="red")
    if pack.passed:
        out.print("passed", style="green")
    out.print(f"{folder.parent / 'proof.json'} ({seconds:.0f} s)", style="dim")


def _shown(estimate: "Estimate | None", share: bool) -> str:
    if estimate is None:
        return "-"
    if share:
        return f"{estimate.value:.0%} ({100 * estimate.low:.0f} to {100 * estimate.high:.0f})"
    return f"{estimate.value:.2f} ({estimate.low:.2f} to {estimate.high:.2f})"
