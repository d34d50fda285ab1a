"""The report card: every figure of an adapter on held-out prompts, beside its rivals'."""

from collections.abc import Sequence
from statistics import fmean

from pydantic import BaseModel, ConfigDict

from evaluate.measures import Measures, Measuring
from evaluate.metrics.code_answers import CodeMeasures, measure_code
from evaluate.metrics.diversity import DiversityReport, diversity
from evaluate.metrics.embeddings import Embed
from evaluate.records import ContestantName, EvalRecord, Helpfulness
from understudy.config.thresholds import Thresholds
from understudy.errors import MeasurementError
from understudy.statistics.intervals import Estimate, bootstrap_mean, paired_difference, rate

ACTS = 0.02
"""A difference of losses above this, in nats per token, is not noise of batching."""


class GeneralMeasures(BaseModel):
    """General questions, counted among those that the base answers correctly."""

    model_config = ConfigDict(frozen=True)

    asked: int
    known: int
    """Those that the base answers correctly."""
    adapter: Estimate
    """Share of these that the adapter answers correctly when a plain answer is asked for."""
    base_voiced: Estimate
    """The same without a system prompt."""
    adapter_voiced: Estimate
    """As people ask the persona, without a system prompt; it may answer only in its voice."""
    change: Estimate | None = None
    """Of all that were asked: the share that the adapter answers correctly less the base's, paired by question, when a
    plain answer is asked for. None in a card of before this was measured."""
    change_voiced: Estimate | None = None
    """The same without a system prompt."""


class ReportCard(BaseModel):
    """All figures of one adapter; `evaluate.verdict` judges them."""

    model_config = ConfigDict(frozen=True)

    recipe: str
    base: str
    revision: str
    prompts: int
    """Held-out prompts that were asked."""
    examples: int
    """Training rows."""
    contestants: dict[ContestantName, Measures]
    style_accuracy: Estimate
    """Of the style classifier, cross-validated; if its low end is not above 0.5, its scores say nothing."""
    language: str | None
    """Of the word list; None if none covers the training answers, so that made-up words are not counted."""
    against: dict[ContestantName, Estimate]
    """By rival: the share of sound answers less the rival's, paired by prompt."""
    changes: dict[str, Estimate] = {}
    """By measure (`evaluate.measures.Measuring.changes`): the adapter's less the base's, paired by prompt."""
    details_against_base: Estimate | None
    """The adapter's `accuracy.details` less the base's, paired by prompt; None if not measured."""
    against_base: Estimate
    """Loss of the base less the adapter's, by row: above zero the adapter is better."""
    helpfulness: Helpfulness | None
    helpful: Estimate | None
    """Share of comparisons with the base that it wins, ties half; None without comparisons."""
    copied: Estimate
    """Share of the adapter's answers that are training answers to other prompts."""
    memorised: Estimate
    """Share of training prompts that it answers word for word as in their rows (ignoring case and white space)."""
    diversity: DiversityReport
    training_loss: float
    forgetting: Estimate
    """Rise of the loss on neutral texts, in nats per token."""
    general: GeneralMeasures | None
    """None if the base answers none of the questions."""
    acts: Estimate
    """Share of the data's answers that it finds more or less likely than the base does, by over `ACTS`."""
    parity: float | None
    """Held-out loss on the base as it is served, less that on the base as it was quantised in training."""
    code: dict[str, CodeMeasures]
    """By contestant, and `data` for the data's own answers; empty if the recipe teaches no code."""
    thresholds: Thresholds
    method: str = ""
    """How it was trained; `full` means that it is no adapter."""
    engine: str = ""


def report_card(record: EvalRecord, thresholds: Thresholds, embed: Embed, *, seed: int = 0) -> ReportCard:
    """Measures everything. Code in the answers is run if the thresholds ask for code.

    Raises:
        MeasurementError: there are no held-out rows, or too few to say anything.
        ExamplesError: code cannot be run on this machine.
    """
    if len(record.heldout) < 2:
        raise MeasurementError(
            f"{record.recipe} has {len(record.heldout)} held-out rows; write at least two (better twenty) into its "
            "heldout.jsonl"
        )
    measuring = Measuring(record, embed, seed)
    measured: dict[ContestantName, tuple[Measures, list[bool]]] = {
        name: measuring.contestant(name) for name in record.outputs
    }
    contestants: dict[ContestantName, Measures] = {name: measures for name, (measures, _) in measured.items()}
    sound: dict[ContestantName, list[bool]] = {name: one for name, (_, one) in measured.items()}
    against: dict[ContestantName, Estimate] = {
        name: measuring.difference(sound["adapter"], sound[name]) for name in sound if name != "adapter"
    }
    outputs, adapter = record.outputs, record.outputs["adapter"]
    return ReportCard(
        recipe=record.recipe,
        base=record.base,
        revision=record.revision,
        prompts=len(record.heldout),
        examples=record.rows or len(record.training),
        contestants=contestants,
        style_accuracy=measuring.styles["adapter"].accuracy,
        language=measuring.vocabulary.language,
        against=against,
        changes=measuring.changes(contestants["adapter"], contestants["base"]),
        details_against_base=_details(contestants["adapter"], contestants["base"], measuring.prompts, seed),
        against_base=paired_difference(outputs["base"].losses, adapter.losses, prompts=measuring.prompts, seed=seed),
        helpfulness=record.helpfulness,
        helpful=_helpful(record.helpfulness),
        copied=measuring.copies["adapter"].copied,
        memorised=_memorised(record),
        diversity=diversity([a.text for a in adapter.answers], [row.answer for row in record.training], seed=seed),
        training_loss=fmean(record.training_losses),
        forgetting=paired_difference(record.neutral_losses["adapter"], record.neutral_losses["base"], seed=seed),
        general=_general(record),
        acts=_acts(record),
        parity=_parity(adapter.losses, record.as_trained_losses),
        code=_code(record, seed) if thresholds.code else {},
        thresholds=thresholds,
        method=record.method,
        engine=record.engine,
    )


def _details(mine: Measures, base: Measures, prompts: Sequence[str], seed: int) -> Estimate | None:
    own, theirs = mine.accuracy.detail_rows, base.accuracy.detail_rows
    return paired_difference(own, theirs, prompts=prompts, bounds=(0, 1), seed=seed) if own else None


def _memorised(record: EvalRecord) -> Estimate:
    pairs = zip(record.training, record.adapter_on_training, strict=True)
    same = sum(row.answer.casefold().split() == given.text.casefold().split() for row, given in pairs)
    return rate(same, len(record.training))


def _parity(served: Sequence[float], as_trained: Sequence[float] | None) -> float | None:
    """Compares the losses of the rows that have both."""
    return fmean(served[: len(as_trained)]) - fmean(as_trained) if as_trained else None


def _acts(record: EvalRecord) -> Estimate:
    pairs = list(zip(record.outputs["adapter"].losses, record.outputs["base"].losses, strict=True))
    return rate(sum(abs(mine - theirs) > ACTS for mine, theirs in pairs), len(pairs))


def _general(record: EvalRecord) -> GeneralMeasures | None:
    known = [one for one in record.general if one.base]  # what the base cannot answer cannot be forgotten
    if not known:
        return None
    return GeneralMeasures(
        asked=len(record.general),
        known=len(known),
        adapter=rate(sum(one.adapter for one in known), len(known)),
        base_voiced=rate(sum(one.base_voiced for one in known), len(known)),
        adapter_voiced=rate(sum(one.adapter_voiced for one in known), len(known)),
        change=_gained([one.adapter for one in record.general], [one.base for one in record.general]),
        change_voiced=_gained(
            [one.adapter_voiced for one in record.general], [one.base_voiced for one in record.general]
        ),
    )


def _gained(mine: Sequence[bool], theirs: Sequence[bool]) -> Estimate:
    return paired_difference(mine, theirs, bounds=(0, 1))


def _helpful(found: Helpfulness | None) -> Estimate | None:
    if found is None or len(found.outcomes) < 2:
        return None
    return bootstrap_mean(found.outcomes, bounds=(0, 1))


def _code(record: EvalRecord, seed: int) -> dict[str, CodeMeasures]:
    right = [row.answer for row in record.heldout]
    answers = {name: [answer.text for answer in one.answers] for name, one in record.outputs.items()}
    return {name: measure_code(texts, right, seed=seed) for name, texts in {**answers, "data": right}.items()}
