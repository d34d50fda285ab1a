"""`understudy verify`: the proof pack of an adapter, its table and its verdict."""

import asyncio
import json
import math
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from anyio.from_thread import start_blocking_portal
from rich.console import Console
from rich.table import Table

from understudy.adapters import short
from understudy.bases import Base, require_base, resolve_base, weight_shapes
from understudy.cli.base_choice import choose_base
from understudy.cli.training import prepare, status
from understudy.errors import BaseModelError, ExamplesError, NotFoundError, UnderstudyError
from understudy.proof import COMPARED, COMPARED_TOKENS, Served
from understudy.recipes import Recipe, load_recipe
from understudy.settings import Settings
from understudy.training import Training

if TYPE_CHECKING:
    from evaluate.report_card import ProofPack
    from understudy.statistics.intervals import Estimate

out = Console(highlight=False, soft_wrap=True)
LEAST = 2
SPARE = 8192.0
"""MiB that are free beside the weights when vLLM and transformers are in memory together."""
VERIFIED = "verified-"
"""How the folder of a proof begins whose adapter is no run of the recipe."""
WHO = {"data": "the data", "few-shot": "base with examples"}
SETTINGS = "training.json"
"""What `understudy train` leaves in the adapter's folder."""


def verify_recipe(settings: Settings, name: str, adapter: Path | None, *, engine: bool, json_output: bool) -> bool:
    """Observes and judges an adapter of a recipe (by default the one trained last); whether it passed.

    Writes `testimony.json` (everything observed) and `proof.json` (figures and verdict) into the run's folder; for an
    adapter that is no run of this recipe, into one of its own beside the runs. `engine` asks a vLLM of its own, too.
    """
    prepare()
    recipe = load_recipe(name, settings.recipes_dir)
    with status("loading libraries"):
        from train.light import import_lightly

        import_lightly()
        from evaluate.collect import asked_rows, observe
        from evaluate.report_card import prove
        from train.runs import newest_product
    folder = adapter or newest_product(recipe.name, settings.runs_dir)
    if folder is None:
        raise NotFoundError(f"{recipe.name} has no finished run; train one first: understudy train {recipe.name}")
    made = _made_with(folder)
    base = require_base(made["base"]) if "base" in made else choose_base(settings, recipe, None)
    if len(recipe.load_heldout(base.name)) < LEAST:
        raise ExamplesError(
            f"{recipe.heldout_at(base.name)}: verify needs at least {LEAST} held-out rows, better twenty"
        )
    training = Training.model_validate(made["training"]) if "training" in made else recipe.training
    most = recipe.sampling.max_tokens
    chats = [row.prompt for row in asked_rows(recipe, base, training)][:COMPARED]
    ask = partial(_served, settings, base, folder, training, chats, COMPARED_TOKENS)
    with status("verifying") as say, begun(ask, now=engine and _room_for_both(base)) as served:
        testimony = observe(recipe, resolve_base(base.name), folder, training, max_tokens=most, on_stage=say)
        if engine:
            say("asking a vLLM of its own")
            testimony = testimony.model_copy(update={"served": served()})
        say("measuring")
        pack = prove(testimony, recipe.proof)
    place = _place(settings, recipe, folder, made, pack.revision)
    for file, record in (("testimony.json", testimony), ("proof.json", pack)):
        (place / file).write_text(record.model_dump_json(indent=2))
    if json_output:
        print(json.dumps({"passed": pack.passed, **pack.model_dump()}))
    else:
        _print(pack, place, testimony.seconds)
    return pack.passed


@contextmanager
def begun(ask: Callable[[], Coroutine[Any, Any, Served]], *, now: bool) -> Iterator[Callable[[], Served]]:
    """Yields what waits for the answer of `ask`, begun `now` in a thread or when that is called.

    What is left of it when the block ends with an error, Ctrl-C too, is cancelled, and with it the engine.
    """
    if not now:
        yield lambda: asyncio.run(ask())
        return
    with start_blocking_portal() as portal:
        yield portal.start_task_soon(ask).result


def _room_for_both(base: Base) -> bool:
    """Whether vLLM may start while transformers answer, which takes a core of each: on a CPU with enough memory."""
    import torch

    from train.cost import available

    try:
        weights = 4 * sum(map(math.prod, weight_shapes(base).values())) / 2**20
    except BaseModelError:
        return False
    return not torch.cuda.is_available() and available() > SPARE + 2 * weights


async def _served(
    settings: Settings, base: Base, product: Path, training: Training, chats: list[list[dict[str, str]]], most: int
) -> Served:
    """What vLLM says with the adapter and without it; a full fine-tune is served by itself."""
    from serve.rehearsal import PLANNED, Rehearsal

    from serve.engine import BASE_NAME

    full = training.method == "full"
    room = {"gpu_memory_utilization": _share_of_gpu(settings)}
    wanted = settings.model_copy(update={"max_lora_rank": max(settings.max_lora_rank, training.rank), **room})
    try:
        async with Rehearsal(wanted, resolve_base(str(product)) if full else base) as engine:
            own = await engine.answers(chats, model=BASE_NAME, max_tokens=most)
            if full:
                return Served(adapter=own)
            await engine.load(product.resolve())
            return Served(base=own, adapter=await engine.answers(chats, model=PLANNED, max_tokens=most))
    except UnderstudyError as error:
        return Served(problem=str(error))


def _share_of_gpu(settings: Settings) -> float:
    """What vLLM may take: as set, but no more than is free beside us and a gateway; 0 leaves it to the plan."""
    import torch

    if not torch.cuda.is_available():
        return settings.gpu_memory_utilization
    free, total = torch.cuda.mem_get_info()
    return min(settings.gpu_memory_utilization or 0.9, round(0.95 * free / total, 3))


def _place(settings: Settings, recipe: Recipe, product: Path, made: dict, revision: str) -> Path:
    """Where the proof goes: the run's own folder, never the folder around somebody else's adapter."""
    runs = (settings.runs_dir / recipe.name).resolve()
    if product.resolve().parent.parent == runs:
        return product.parent
    place = settings.runs_dir / recipe.name / f"{VERIFIED}{short(revision)}"
    place.mkdir(parents=True, exist_ok=True)
    if made:
        (place / "settings.json").write_text(json.dumps(made, indent=2))
    return place


def _made_with(folder: Path) -> dict:
    try:
        return json.loads((folder / SETTINGS).read_text())
    except (OSError, json.JSONDecodeError):
        return {}


def _print(pack: "ProofPack", place: Path, seconds: float) -> None:
    shots = pack.contestants["few-shot"].shots
    table = Table(
        "on held-out prompts",
        "base",
        f"base + {shots} shots",
        "full fine-tune" if pack.method == "full" else "adapter",
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
    for name, code in pack.code.items():
        shown = f"{_shown(code.parses, True)} parse, {_shown(code.runs, True)} run, chrF {code.chrf.value:.0f}"
        out.print(f"code of {WHO.get(name, name)}: {shown}")
    if pack.served is not None and pack.served.acts is not None:
        out.print(
            f"through vLLM: {_shown(pack.served.acts, True)} of the answers are not the base's; as transformers: "
            f"{_shown(pack.served.same_answers, True)} of the answers, {pack.served.same_tokens:.0%} of their tokens"
        )
    elif pack.served is None:
        out.print("not asked: whether it acts through vLLM (--no-engine)", style="yellow")
    for line in pack.worse:
        out.print(f"got worse: {line}", style="yellow")
    for line in pack.reasons:
        out.print(f"refused: {line}", style="red")
    if pack.passed:
        out.print("passed", style="green")
    out.print(f"{place / 'proof.json'} ({seconds:.0f} s)", style="dim")


def _shown(estimate: "Estimate | None", share: bool) -> str:
    if estimate is None:
        return "-"
    if share:
        return f"{estimate.value:.0%} ({100 * estimate.low:.0f} to {100 * estimate.high:.0f})"
    return f"{estimate.value:.2f} ({estimate.low:.2f} to {estimate.high:.2f})"
