"""The report card: what an adapter does on held-out prompts, beside its rivals, and whether that is good enough."""

from collections.abc import Sequence
from statistics import fmean

import numpy as np
from pydantic import BaseModel, ConfigDict

from evaluate.accuracy import AccuracyReport, accuracy
from evaluate.code_answers import CodeMeasures, measure_code
from evaluate.diversity import DiversityReport, diversity
from evaluate.embeddings import Embed
from evaluate.fluency import FluencyReport, Vocabulary, fluency
from evaluate.memorization import CopyingReport, copying
from evaluate.records import ContestantName, EvalExample, EvalRecord, Generation, Helpfulness, ModelOutputs
from evaluate.style import StyleReport, style_of_all
from understudy.config.thresholds import Thresholds
from understudy.statistics.answer_checks import AnswerChecks, Exchange, check
from understudy.statistics.intervals import Estimate, MeasurementError, bootstrap_mean, paired_difference, rate

ACTS = 0.02
"""Nats per token that are no noise of a batch; sampled answers may differ even where two models are the same."""
RARE = 2.0
"""Nats per token above the data's own answer from which on a single answer is not fluent."""


class Measures(BaseModel):
    """One contestant on the held-out prompts."""

    model_config = ConfigDict(frozen=True)

    loss: Estimate | None
    """Nats per token of the data's own answers; None where it was not taken."""
    sound: Estimate
    """Share of answers that pass every check of a single answer (`sound_answers`)."""
    in_style: Estimate
    stopped: Estimate
    on_topic: Estimate | None
    """None where no held-out row names its topic."""
    accuracy: AccuracyReport
    fluency: FluencyReport
    echoes: Estimate
    degenerate: Estimate
    words: Estimate
    """Words of an answer."""
    shots: int = 0


class GeneralMeasures(BaseModel):
    """General questions, counted among those that the base answers correctly."""

    model_config = ConfigDict(frozen=True)

    asked: int
    known: int
    """That the base answers correctly."""
    adapter: Estimate
    """Share of these that the adapter answers correctly, too, when a plain answer is asked for."""
    base_voiced: Estimate
    """The same without a system prompt."""
    adapter_voiced: Estimate
    """As people ask the persona, without a system prompt: it may answer in its voice only."""


class ReportCard(BaseModel):
    """All figures of one adapter, and the verdict."""

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
    """Of the style classifier, cross-validated; where its low end is not above 0.5 its scores say nothing."""
    language: str | None
    """Whose word list was used; None: no word list covers the training answers, so made-up words are not counted."""
    against: dict[ContestantName, Estimate]
    """By rival: share of sound answers above the rival's, paired by prompt."""
    details_against_base: Estimate | None
    """The adapter's `accuracy.details` less the base's, paired by prompt; None where there are none."""
    against_base: Estimate
    """Loss of the base less the adapter's, by row: above zero the adapter is better."""
    helpfulness: Helpfulness | None
    helpful: Estimate | None
    """Share of comparisons with the base that it wins, ties half; None where nobody compared."""
    copied: Estimate
    """Share of the adapter's answers that are training answers to other prompts."""
    memorised: Estimate
    """Share of training prompts that the adapter answers word for word as their rows do (case and space apart)."""
    diversity: DiversityReport
    training_loss: float
    forgetting: Estimate
    """Rise of the loss on neutral texts, in nats per token."""
    general: GeneralMeasures | None
    """None where the base answers none of the questions."""
    acts: Estimate
    """Share of the data's answers that it finds more or less likely than the base does, by over `ACTS`."""
    parity: float | None
    """Held-out loss on the base as it is served, less that on the base as it was trained on."""
    code: dict[str, CodeMeasures]
    """By contestant, and `data` for the data's own answers; empty where the recipe teaches no code."""
    thresholds: Thresholds
    method: str = ""
    """How it was trained; `full` is no adapter."""
    engine: str = ""


def report_card(record: EvalRecord, thresholds: Thresholds, embed: Embed, *, seed: int = 0) -> ReportCard:
    """Measures everything; `evaluate.verdict` judges it.

    Code in the answers is run, where the thresholds ask for code.

    Raises:
        MeasurementError: there are no held-out rows, or too few to say anything.
        CodeEvalError: code cannot be run on this machine.
    """
    if len(record.heldout) < 2:
        raise MeasurementError(
            f"{record.recipe} has {len(record.heldout)} held-out rows; write at least two (better twenty) into its "
            "heldout.jsonl"
        )
    measuring = _Measuring(record, thresholds, embed, seed)
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
        examples=len(record.training),
        contestants=contestants,
        style_accuracy=measuring.styles["adapter"].accuracy,
        language=measuring.vocabulary.language,
        against=against,
        details_against_base=_details(contestants["adapter"], contestants["base"], measuring.prompts, seed),
        against_base=paired_difference(outputs["base"].losses, adapter.losses, seed=seed),
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


class _Measuring:
    """What all contestants of one record are measured with."""

    def __init__(self, record: EvalRecord, thresholds: Thresholds, embed: Embed, seed: int) -> None:
        self.record, self.thresholds, self.embed, self.seed = record, thresholds, _once(embed), seed
        self.prompts = [row.prompt for row in record.heldout]
        self.references = [row.answer for row in record.heldout]
        self.vocabulary = Vocabulary(
            [row.answer for row in record.training], [*self.prompts, *(row.prompt for row in record.training)]
        )
        self.styles = self._styles()
        self.copies = {name: self._copied(said.answers) for name, said in record.outputs.items()}

    def contestant(self, name: ContestantName) -> tuple[Measures, list[bool]]:
        """Its measures, and which of its answers are sound."""
        said, seed = self.record.outputs[name], self.seed
        checks = checked(self.record.heldout, said.answers)
        topics = [one.on_topic for one in checks if one.on_topic is not None]
        texts = [one.text for one in said.answers]
        meaning = accuracy(texts, self.references, self.embed, prompts=self.prompts, seed=seed)
        base_losses = self.record.outputs["base"].losses
        sound = sound_answers(
            checks,
            self.styles[name],
            self.copies[name],
            meaning,
            _excess(said, base_losses),
        )
        measures = Measures(
            loss=bootstrap_mean(said.losses, bounds=(0, 1e6), seed=seed) if said.losses else None,
            sound=bootstrap_mean([float(one) for one in sound], prompts=self.prompts, bounds=(0, 1), seed=seed),
            in_style=self.styles[name].in_style,
            stopped=rate(sum(one.stopped for one in checks), len(checks)),
            on_topic=rate(sum(topics), len(topics)) if topics else None,
            accuracy=meaning,
            fluency=fluency(texts, said.surprise, base_losses, self.vocabulary, prompts=self.prompts, seed=seed),
            echoes=rate(sum(one.echoes_prompt for one in checks), len(checks)),
            degenerate=rate(sum(bool(one.degenerate) for one in checks), len(checks)),
            words=bootstrap_mean([one.words for one in checks], seed=seed),
            shots=said.shots,
        )
        return measures, sound

    def difference(self, mine: list[bool], theirs: list[bool]) -> Estimate:
        """Of two shares of sound answers, paired by prompt."""
        return paired_difference(
            [float(one) for one in mine],
            [float(one) for one in theirs],
            prompts=self.prompts,
            bounds=(0, 1),
            seed=self.seed,
        )

    def _styles(self) -> dict[str, StyleReport]:
        """By contestant; all are scored by one classifier, of training answers against the base's to their prompts."""
        record = self.record
        training = [Exchange(row.prompt, row.answer) for row in record.training]
        pairs = zip(record.training, record.base_on_training, strict=True)
        other = [Exchange(row.prompt, said.text) for row, said in pairs]
        candidates = {
            name: [Exchange(prompt, said.text) for prompt, said in zip(self.prompts, one.answers, strict=True)]
            for name, one in record.outputs.items()
        }
        return style_of_all(training, other, candidates, seed=self.seed)

    def _copied(self, answers: Sequence[Generation]) -> CopyingReport:
        return copying(
            [said.text for said in answers],
            [row.answer for row in self.record.training],
            prompts=self.prompts,
            training_prompts=[row.prompt for row in self.record.training],
            seed=self.seed,
        )


def _once(embed: Embed) -> Embed:
    """The same encoder; a text that it has seen it does not read again."""
    known: dict[str, np.ndarray] = {}

    def lookup(texts: Sequence[str]) -> np.ndarray:
        fresh = [text for text in dict.fromkeys(texts) if text not in known]
        if fresh:
            known.update(zip(fresh, embed(fresh), strict=True))
        return np.stack([known[text] for text in texts])

    return lookup


def checked(rows: Sequence[EvalExample], answers: Sequence[Generation]) -> list[AnswerChecks]:
    """Each answer's checks."""
    return [
        check(Exchange(row.prompt, said.text), finish_reason="stop" if said.stopped else "length", topic=row.topic)
        for row, said in zip(rows, answers, strict=True)
    ]


def sound_answers(
    checks: Sequence[AnswerChecks],
    style: StyleReport,
    copies: CopyingReport,
    meaning: AccuracyReport,
    excess: Sequence[float | None],
) -> list[bool]:
    """Which answers are in style and make sense: they end, are no echo, copy or loop, name their topic where the row
    says what that is, are nearer to their own reference than to half of the others, and are at most `RARE` nats a
    token less likely to the base than the data's own answer (`excess`, None where that was not taken).
    """
    return [
        one.stopped
        and not one.echoes_prompt
        and not one.degenerate
        and one.on_topic is not False
        and score.probability > 0.5
        and not copy.copied
        and near >= 0.5
        and (nats is None or nats <= RARE)
        for one, score, copy, near, nats in zip(checks, style.scores, copies.answers, meaning.rows, excess, strict=True)
    ]


def _excess(said: ModelOutputs, base_losses: Sequence[float]) -> list[float | None]:
    if not said.surprise:
        return [None] * len(said.answers)
    return [None if nats is None else nats - own for nats, own in zip(said.surprise, base_losses, strict=True)]


def _details(mine: Measures, base: Measures, prompts: Sequence[str], seed: int) -> Estimate | None:
    own, theirs = mine.accuracy.detail_rows, base.accuracy.detail_rows
    return paired_difference(own, theirs, prompts=prompts, bounds=(0, 1), seed=seed) if own else None


def _memorised(record: EvalRecord) -> Estimate:
    pairs = zip(record.training, record.adapter_on_training, strict=True)
    same = sum(row.answer.casefold().split() == said.text.casefold().split() for row, said in pairs)
    return rate(same, len(record.training))


def _parity(served: Sequence[float], as_trained: Sequence[float] | None) -> float | None:
    """Of the rows that have both."""
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
    )


def _helpful(found: Helpfulness | None) -> Estimate | None:
    if found is None or len(found.outcomes) < 2:
        return None
    return bootstrap_mean(found.outcomes, bounds=(0, 1))


def _code(record: EvalRecord, seed: int) -> dict[str, CodeMeasures]:
    right = [row.answer for row in record.heldout]
    answers = {name: [said.text for said in one.answers] for name, one in record.outputs.items()}
    return {name: measure_code(said, right, seed=seed) for name, said in {**answers, "data": right}.items()}
