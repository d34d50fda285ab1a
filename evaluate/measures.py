"""The measures of one contestant's answers, and which of the answers are sound."""

from collections.abc import Sequence

import numpy as np
from pydantic import BaseModel, ConfigDict

from evaluate.metrics.accuracy import AccuracyReport, accuracy
from evaluate.metrics.embeddings import Embed
from evaluate.metrics.fluency import FluencyReport, Vocabulary, fluency
from evaluate.metrics.memorization import MemorizationReport, copying
from evaluate.metrics.style import StyleReport, style_of_all
from evaluate.records import ContestantName, EvalExample, EvalRecord, Generation, ModelOutputs
from understudy.statistics.answer_checks import AnswerChecks, PromptAndAnswer, check
from understudy.statistics.intervals import Estimate, bootstrap_mean, paired_difference

CHANCE = 0.5
"""A classifier of style whose accuracy is not clearly above this says nothing."""
RARE = 2.0
"""A single answer is not fluent if it surprises the base by more than this above the data's own, in nats per token."""


class Measures(BaseModel):
    """One contestant on the held-out prompts."""

    model_config = ConfigDict(frozen=True)

    loss: Estimate | None
    """Nats per token of the data's own answers; None if it was not measured."""
    sound: Estimate
    """Share of answers that pass every check of a single answer (`sound_answers`)."""
    in_style: Estimate
    stopped: Estimate
    on_topic: Estimate | None
    """None if no held-out row names its topic."""
    accuracy: AccuracyReport
    fluency: FluencyReport
    echoes: Estimate
    degenerate: Estimate
    words: Estimate
    """Words of an answer."""
    shots: int = 0


class Measuring:
    """Measures the contestants of one record; what they share is computed once."""

    def __init__(self, record: EvalRecord, embed: Embed, seed: int) -> None:
        self.record, self.embed, self.seed = record, _once(embed), seed
        self.prompts = [row.prompt for row in record.heldout]
        self.references = [row.answer for row in record.heldout]
        self.taught = [*record.training, *record.rest]
        self.vocabulary = Vocabulary(
            [row.answer for row in self.taught], [*self.prompts, *(row.prompt for row in self.taught)]
        )
        self.styles = self._styles()
        self.checks = {name: checked(record.heldout, outputs.answers) for name, outputs in record.outputs.items()}
        self.copies = {name: self._copied(outputs.answers) for name, outputs in record.outputs.items()}

    def contestant(self, name: ContestantName) -> tuple[Measures, list[bool]]:
        """Measures a contestant; also says which of its answers are sound."""
        outputs, seed = self.record.outputs[name], self.seed
        checks = self.checks[name]
        topical = [place for place, one in enumerate(checks) if one.on_topic is not None]
        texts = [one.text for one in outputs.answers]
        meaning = accuracy(texts, self.references, self.embed, prompts=self.prompts, seed=seed)
        base_losses = self.record.outputs["base"].losses
        sound = sound_answers(
            checks,
            self.styles[name],
            self.copies[name],
            meaning,
            _excess(outputs, base_losses),
        )
        measures = Measures(
            loss=_loss(outputs.losses, self.prompts, seed),
            sound=self.share(sound),
            in_style=self.styles[name].in_style,
            stopped=self.share([one.stopped for one in checks]),
            on_topic=self.share([checks[place].on_topic is True for place in topical], topical) if topical else None,
            accuracy=meaning,
            fluency=fluency(texts, outputs.surprise, base_losses, self.vocabulary, prompts=self.prompts, seed=seed),
            echoes=self.share([one.echoes_prompt for one in checks]),
            degenerate=self.share([bool(one.degenerate) for one in checks]),
            words=bootstrap_mean([one.words for one in checks], prompts=self.prompts, seed=seed),
            shots=outputs.shots,
        )
        return measures, sound

    def share(self, answers: Sequence[bool], places: Sequence[int] | None = None) -> Estimate:
        """Measures the share of answers, to all prompts or those at `places`, of which something holds."""
        prompts = self.prompts if places is None else [self.prompts[place] for place in places]
        return bootstrap_mean([float(one) for one in answers], prompts=prompts, bounds=(0, 1), seed=self.seed)

    def difference(self, mine: Sequence[float], theirs: Sequence[float]) -> Estimate:
        """Measures the difference of two shares, of values from 0 to 1, paired by prompt."""
        return paired_difference(mine, theirs, prompts=self.prompts, bounds=(0, 1), seed=self.seed)

    def changes(self, measures: Measures, base: Measures) -> dict[str, Estimate]:
        """Measures what differs from the base's answers, paired by prompt: `stopped`, `on_topic`, `accuracy`."""
        mine, theirs = self.checks["adapter"], self.checks["base"]
        found = {
            "stopped": self.difference([one.stopped for one in mine], [one.stopped for one in theirs]),
            "accuracy": self.difference(measures.accuracy.rows, base.accuracy.rows),
        }
        if all(one.on_topic is not None for one in mine):
            found["on_topic"] = self.difference(
                [one.on_topic is True for one in mine], [one.on_topic is True for one in theirs]
            )
        return found

    def _styles(self) -> dict[str, StyleReport]:
        """Scores all contestants with one classifier of training answers against the base's to their prompts."""
        record = self.record
        training = [PromptAndAnswer(row.prompt, row.answer) for row in record.training]
        pairs = zip(record.training, record.base_on_training, strict=True)
        other = [PromptAndAnswer(row.prompt, answer.text) for row, answer in pairs]
        candidates = {
            name: [
                PromptAndAnswer(prompt, answer.text) for prompt, answer in zip(self.prompts, one.answers, strict=True)
            ]
            for name, one in record.outputs.items()
        }
        return style_of_all(training, other, candidates, seed=self.seed)

    def _copied(self, answers: Sequence[Generation]) -> MemorizationReport:
        return copying(
            [answer.text for answer in answers],
            [row.answer for row in self.taught],
            prompts=self.prompts,
            training_prompts=[row.prompt for row in self.taught],
        )


def _loss(losses: Sequence[float], prompts: Sequence[str], seed: int) -> Estimate | None:
    return bootstrap_mean(losses, prompts=prompts, bounds=(0, 1e6), seed=seed) if losses else None


def _once(embed: Embed) -> Embed:
    """Caches the vectors of an encoder by text."""
    known: dict[str, np.ndarray] = {}

    def lookup(texts: Sequence[str]) -> np.ndarray:
        fresh = [text for text in dict.fromkeys(texts) if text not in known]
        if fresh:
            known.update(zip(fresh, embed(fresh), strict=True))
        return np.stack([known[text] for text in texts])

    return lookup


def checked(rows: Sequence[EvalExample], answers: Sequence[Generation]) -> list[AnswerChecks]:
    """Runs the checks of single answers."""
    return [
        check(
            PromptAndAnswer(row.prompt, answer.text),
            finish_reason="stop" if answer.stopped else "length",
            topic=row.topic,
        )
        for row, answer in zip(rows, answers, strict=True)
    ]


def sound_answers(
    checks: Sequence[AnswerChecks],
    style: StyleReport,
    copies: MemorizationReport,
    meaning: AccuracyReport,
    excess: Sequence[float | None],
) -> list[bool]:
    """Says which answers are in style and make sense.

    These end, are no echo, copy or loop, name their topic if the row has one, are nearer to their own reference than
    to half of the others, and surprise the base by at most `RARE` nats a token more than the data's own answer
    (`excess`, None if it was not measured). A classifier of style that is no better than chance is not asked.
    """
    telling = style.accuracy.low > CHANCE
    return [
        one.stopped
        and not one.echoes_prompt
        and not one.degenerate
        and one.on_topic is not False
        and (probability > 0.5 or not telling)
        and not copy.copied
        and near >= 0.5
        and (nats is None or nats <= RARE)
        for one, probability, copy, near, nats in zip(
            checks, style.probabilities, copies.answers, meaning.rows, excess, strict=True
        )
    ]


def _excess(outputs: ModelOutputs, base_losses: Sequence[float]) -> list[float | None]:
    if not outputs.surprise:
        return [None] * len(outputs.answers)
    return [None if nats is None else nats - own for nats, own in zip(outputs.surprise, base_losses, strict=True)]
