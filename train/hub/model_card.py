"""The model card that travels with an adapter: what it is, how good it is, what got worse, how it was made."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from train.hub.model_card_sections import LIMITS, continued, fenced, interval, sampling_of, setting, usage
from train.hub.public_base import PublicBase, public_base
from train.runs import RunSettings
from understudy.bases import SMOLLM2, TINY
from understudy.bases.prepare import PACKAGE
from understudy.config.recipe import Recipe
from understudy.errors import AdapterError

if TYPE_CHECKING:
    from understudy.statistics.intervals import Estimate

Scale = Literal["share", "number"]
SAMPLES = 3
"""Prompts whose answers a card shows: the first held-out ones, so that nobody can pick the best."""

OPEN_IN_SPACES = (
    "[![Open in Spaces](https://huggingface.co/datasets/huggingface/badges/resolve/main/open-in-hf-spaces-md.svg)]"
    "(https://huggingface.co/spaces/{space})"
)

CONFIDENCE = 0.95
"""Confidence level of every interval in a proof pack."""


@dataclass(frozen=True)
class CardFigure:
    """One line of a proof pack."""

    key: str
    label: str
    scale: Scale
    adapter: "Estimate"
    base: "Estimate | None" = None
    few_shot: "Estimate | None" = None
    described: "Estimate | None" = None


@dataclass(frozen=True)
class CardSample:
    """One held-out prompt and the answers to it."""

    prompt: str
    base: str
    few_shot: str
    adapter: str


@dataclass(frozen=True)
class CardProof:
    """The part of a proof pack that a card shows."""

    prompts: int
    """Held-out prompts that were asked."""
    shots: int
    """Training rows in the prompt of the base, for `few-shot`."""
    figures: tuple[CardFigure, ...]
    reasons: tuple[str, ...]
    """Why it was refused; empty when it passed."""
    worse: tuple[str, ...]
    rivals: tuple[str, ...] = ()
    """One sentence a rival: does it beat that rival?"""
    unmeasured: tuple[str, ...] = ()
    """What was not measured, and how to measure it."""
    samples: tuple[CardSample, ...] = ()


@dataclass(frozen=True)
class CardFacts:
    """Everything a card is written from; an unknown fact is empty."""

    name: str
    title: str
    base: PublicBase
    voice: str = ""
    prompts: tuple[str, ...] = ()
    repo: str = ""
    """`organisation/name` on the Hub."""
    space: str = ""
    """`organisation/name` of a Space where it can be tried."""
    whole: bool = False
    """A whole model, not an adapter."""
    rank: int = 16
    run: Mapping[str, Any] = field(default_factory=dict)
    """`training.json`: rows, examples_sha256, training, versions."""
    cost: Mapping[str, Any] = field(default_factory=dict)
    """`result.json`: steps, epochs, seconds, tokens_per_second, peak_memory_mib."""
    datasets: tuple[str, ...] = ()
    """Hub ids of the training data."""
    proof: CardProof | None = None

    @property
    def kind(self) -> str:
        return "model" if self.whole else "adapter"


def adapter_card(recipe: Recipe, settings: RunSettings) -> str:
    """Return the card that a run writes beside its adapter, before anybody has verified it."""
    return model_card(
        CardFacts(
            name=recipe.name,
            title=recipe.title,
            voice=recipe.voice,
            prompts=tuple(recipe.prompts),
            base=_base_here(settings),
            whole=settings.training.method == "full",
            rank=settings.training.rank,
            run=settings.model_dump(mode="json"),
        )
    )


def _base_here(settings: RunSettings) -> PublicBase:
    """Return the base for a card on this machine: a folder is named by its last part."""
    try:
        return public_base(settings.base, settings.base_revision)
    except AdapterError:
        return PublicBase(Path(settings.base).name, settings.base_revision, hub=False)


def model_card(facts: CardFacts) -> str:
    """Return Markdown with the front matter that the Hub reads; the same facts give the same card."""
    from huggingface_hub import ModelCard

    parts = (
        f"# {facts.title}",
        facts.voice,
        _warning(facts),
        OPEN_IN_SPACES.format(space=facts.space) if facts.space else "",
        _what_it_is(facts),
        usage(facts.repo, facts.name, facts.base, facts.prompts, whole=facts.whole, rank=facts.rank),
        LIMITS.format(kind=facts.kind, rows=facts.run.get("rows") or "a few"),
        _figures(facts.proof, facts.kind),
        _worse(facts.proof, facts.kind),
        _samples(facts.proof, facts.kind),
        _training(facts),
    )
    body = "\n\n".join(part.strip() for part in parts if part.strip())
    return str(ModelCard(f"---\n{_front_matter(facts).to_yaml()}\n---\n\n{body}\n", ignore_metadata_errors=False))


def _front_matter(facts: CardFacts) -> Any:
    from huggingface_hub import ModelCardData

    method = str((facts.run.get("training") or {}).get("method") or "")
    taught = str((facts.run.get("preference") or {}).get("method") or "sft")
    tags = ["understudy", "persona", *(["trl", taught] if facts.run else [])]
    tags += [] if facts.whole else ["lora", *([method] if method.startswith("qlora") else [])]
    more: dict[str, Any] = {}
    if facts.base.hub:
        more["base_model_relation"] = "finetune" if facts.whole else "adapter"
        if facts.base.revision:
            more["base_model_revision"] = facts.base.revision
    if facts.prompts:
        more["widget"] = [{"messages": [{"role": "user", "content": prompt}]} for prompt in facts.prompts]
    if sampling := sampling_of(facts.base):
        more["inference"] = {"parameters": sampling}
    return ModelCardData(
        library_name="transformers" if facts.whole else "peft",
        base_model=facts.base.name if facts.base.hub else None,
        pipeline_tag="text-generation",
        tags=tags,
        datasets=list(facts.datasets) or None,
        model_name=facts.title,
        eval_results=list(_eval_results(facts)) or None,
        **more,
    )


def _eval_results(facts: CardFacts) -> Iterator[Any]:
    """Yield the proof pack as the Hub's model-index."""
    from huggingface_hub import EvalResult

    proof = facts.proof
    for figure in proof.figures if proof else ():
        mine = figure.adapter
        yield EvalResult(
            task_type="text-generation",
            dataset_type=facts.name,
            dataset_name=f"{facts.name}: {proof.prompts if proof else 0} held-out prompts",
            dataset_split="heldout",
            metric_type=figure.key,
            metric_name=figure.label,
            metric_value=round(mine.value, 4),
            metric_args={"low": round(mine.low, 4), "high": round(mine.high, 4), "n": mine.n, "confidence": CONFIDENCE},
            source_name="proof pack" if facts.repo else None,
            source_url=f"https://huggingface.co/{facts.repo}/blob/main/proof.json" if facts.repo else None,
        )


def _warning(facts: CardFacts) -> str:
    if facts.proof is None:
        asked = "prompts that it was not trained on"
        return f"> ⚠️ **Not verified.** Nobody has measured yet what this {facts.kind} does on {asked}."
    if not facts.proof.reasons:
        return ""
    reasons = "\n".join(f"> - {reason}" for reason in facts.proof.reasons)
    return f"> ⚠️ **Refused by its own proof pack**, and pushed anyway:\n>\n{reasons}"


def _what_it_is(facts: CardFacts) -> str:
    base = f"[`{facts.base.name}`](https://huggingface.co/{facts.base.name})"
    pinned = f" at commit `{facts.base.revision}`" if facts.base.revision else ""
    if not facts.base.hub:
        which = "the base for Understudy's tests" if facts.base.name == TINY else "a base in a folder"
        base, pinned = f"`{facts.base.name}` ({which}, not on the Hub", f"; weights: SHA-256 `{facts.base.revision}`)"
    what = "A fine-tune of" if facts.whole else "A LoRA adapter for"
    rows = f", trained on {facts.run['rows']:,} examples" if facts.run.get("rows") else ""
    return f"{what} {base}{pinned}{rows} by Understudy.{_copy(facts)}"


def _copy(facts: CardFacts) -> str:
    """Return the sentence that names Understudy's own copy of the base, if it was trained and measured on that."""
    if facts.run.get("base") != SMOLLM2:
        return ""
    weights = f", SHA-256 `{facts.run['base_revision']}`" if facts.run.get("base_revision") else ""
    return (
        " It was trained and measured on Understudy's copy of that model (`smollm2`: the 4-bit weights of the package "
        f"{PACKAGE}, as bfloat16{weights})."
    )


def _figures(proof: CardProof | None, kind: str) -> str:
    if proof is None:
        return ""
    verdict = "It passed." if not proof.reasons else "It was **refused**: see the top of this page."
    compared = [f for f in proof.figures if f.base]
    lines = [
        "## How good it is",
        "",
        f"Measured on {proof.prompts} held-out prompts, with the base's own sampling, beside the base, the base "
        f"with the persona's description as its system prompt, and the base with {proof.shots} training rows in its "
        f"prompt. In brackets are 95 % intervals. {verdict} `proof.json` holds everything.",
        "",
        *(f"- {line}" for line in proof.rivals),
        *(f"- {line}" for line in proof.unmeasured),
        "",
        f"| | base | base + description | base + {proof.shots} examples | this {kind} |",
        "|---|---|---|---|---|",
        *(
            f"| {f.label} | {_cell(f, f.base)} | {_cell(f, f.described)} | {_cell(f, f.few_shot)} "
            f"| **{_cell(f, f.adapter)}** |"
            for f in compared
        ),
    ]
    alone = [f for f in proof.figures if not f.base]
    if alone:
        lines += ["", f"| | this {kind} |", "|---|---|", *(f"| {f.label} | {_cell(f, f.adapter)} |" for f in alone)]
    return "\n".join(lines)


def _cell(figure: CardFigure, found: "Estimate | None") -> str:
    return interval(found.value, found.low, found.high, figure.scale) if found else "–"


def _worse(proof: CardProof | None, kind: str) -> str:
    if proof is None:
        return ""
    nothing = [f"Nothing that {proof.prompts} prompts could show; that is not the same as nothing."]
    found = [f"- {line}" for line in proof.worse] or nothing
    return "\n".join([f"## What got worse\n\nThe {kind} beside its base:\n", *found])


def _samples(proof: CardProof | None, kind: str) -> str:
    if proof is None or not proof.samples:
        return ""
    parts = ["## Side by side", "The first held-out prompts, not chosen."]
    for sample in proof.samples[:SAMPLES]:
        parts.append("**Prompt**\n\n" + fenced(sample.prompt))
        answers = (("Base", sample.base), (f"Base + {proof.shots} examples", sample.few_shot))
        parts += [f"{who}\n\n{fenced(said)}" for who, said in answers]
        parts.append(f"**This {kind}**\n\n{fenced(sample.adapter)}\n\n---")
    return "\n\n".join(parts)


def _training(facts: CardFacts) -> str:
    if not facts.run:
        return "## How it was trained\n\nThere is no record of it."
    rows = [(name.replace("_", " "), value) for name, value in (facts.run.get("training") or {}).items()]
    rows += [("examples", facts.run.get("rows")), ("examples (SHA-256)", facts.run.get("examples_sha256"))]
    rows += [(f"version of {name}", version) for name, version in (facts.run.get("versions") or {}).items()]
    table = "\n".join(f"| {name} | {setting(value)} |" for name, value in rows)
    return (
        "## How it was trained\n\nWith the loss on answers only, the end of the turn included, so that it stops by "
        f"itself.{continued(facts.run)}{_cost(facts.cost)} `training.json` holds every setting as it was resolved.\n\n"
        f"| setting | value |\n|---|---|\n{table}"
    )


def _cost(cost: Mapping[str, Any]) -> str:
    known = (
        ("steps", "{:,} steps"),
        ("epochs", "{:g} epochs"),
        ("seconds", "{:,.0f} seconds"),
        ("tokens_per_second", "{:,.0f} tokens a second"),
        ("peak_memory_mib", "{:,.0f} MiB of memory at most"),
    )
    parts = [text.format(cost[name]) for name, text in known if isinstance(cost.get(name), int | float)]
    return f" It took {', '.join(parts)}." if parts else ""
