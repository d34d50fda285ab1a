"""The data of a report: contestants, figures, answers, verdicts, costs."""

from typing import Literal

from pydantic import BaseModel, ConfigDict

from evaluate.verified_runs import RunFacts
from understudy.statistics.intervals import Estimate

Kind = Literal["base", "described", "few-shot", "trained", "imported"]
Scale = Literal["share", "number", "count"]


class ReportRecord(BaseModel):
    """Reports do not change once they are made."""

    model_config = ConfigDict(frozen=True)


class Measure(ReportRecord):
    """One column of the summary table."""

    key: str
    name: str
    scale: Scale
    better: Literal["more", "less", ""]
    """Which direction is better; empty if neither."""
    how: str
    """How it is measured, in one sentence."""


class ReportContestant(ReportRecord):
    """One contestant: the base, the base with few-shot examples, the product of a run, another system."""

    key: str
    name: str
    kind: Kind
    note: str
    """What it is, in a few words."""
    asked: int
    """Held-out prompts that its figures rest on."""
    figures: dict[str, Estimate | None]
    """By key of the measure; None where it was not measured."""
    best: tuple[str, ...] = ()
    """Measures in which its whole interval is better than all others."""


class ShownAnswer(ReportRecord):
    """One answer and its checks."""

    text: str
    words: int
    stopped: bool | None
    """It ended by itself; None if unknown."""
    echoes: bool
    on_topic: bool | None
    """None where no topic was named."""
    copied: bool
    degenerate: str
    """Why it is not an answer; empty if it is one."""
    style: float | None
    """Probability that it is in the persona's style; None where its prompt was trained on."""

    @property
    def marks(self) -> tuple[str, ...]:
        """What is wrong with it, in words."""
        found = (
            ("cut off", self.stopped is False),
            ("repeats the prompt", self.echoes),
            (f"no answer: {self.degenerate}", bool(self.degenerate) and not self.echoes),
            ("off topic", self.on_topic is False),
            ("copied", self.copied),
        )
        return tuple(mark for mark, there in found if there)


class PromptRow(ReportRecord):
    """One prompt and every contestant's answers."""

    prompt: str
    reference: str | None
    """The data's own answer; None for a prompt that is not in the held-out data."""
    answers: dict[str, tuple[ShownAnswer, ...]]
    """By key of the contestant; several where it was sampled several times, none where it did not answer."""


class ReportVerdict(ReportRecord):
    """The verdict on a run's product, with reasons."""

    contestant: str
    """Its key."""
    name: str
    base: str
    revision: str
    passed: bool
    reasons: tuple[str, ...]
    worse: tuple[str, ...]
    """What got worse than the base."""
    rivals: tuple[str, ...] = ()
    """Whether it beats each rival, in a sentence each."""
    open: tuple[str, ...] = ()
    """What was not measured, and how to measure it."""


class Further(ReportRecord):
    """A figure that only trained contestants have."""

    name: str
    scale: Scale
    how: str
    figures: tuple[Estimate | float | None, ...]
    """One a run, in their order."""


class Gap(ReportRecord):
    """Prompts and answers of an imported system that could not be matched."""

    system: str
    file: str
    unanswered: tuple[str, ...]
    unmatched: tuple[str, ...]


class TrainedRun(ReportRecord):
    """How a run was trained."""

    contestant: str
    """Its key."""
    name: str
    facts: RunFacts


class JudgedContestant(ReportRecord):
    """A judge model's verdicts on one contestant's answers beside the base's."""

    contestant: str
    """Its key."""
    pairs: int
    won: int
    tied: int
    """Both orders gave a tie, or they contradicted each other."""
    lost: int
    contradicted: int
    """Of the ties, those in which the judge chose the same place in both orders."""
    not_understood: tuple[str, ...]
    """Prompts of pairs that do not count, because one of the two answers of the judge named no choice."""
    share: Estimate | None
    """Won, ties half, of all that count; None where none does."""
    first: Estimate | None
    """Share of its choices that fell on the answer shown first; one half is fair."""


class JudgedReport(ReportRecord):
    """A judge model's verdicts."""

    model: str
    against: str
    """Name of the contestant that all others met."""
    rows: tuple[JudgedContestant, ...]


class Report(ReportRecord):
    """A whole report; rendering adds words and colours, never figures."""

    recipe: str
    title: str
    voice: str
    made_on: str
    """The date, as it is to be shown."""
    versions: dict[str, str]
    """Of what measured and drew it."""
    prompts: int
    """Held-out prompts."""
    style_asked: float
    """Share of answers in style that the recipe asks for."""
    verdicts: tuple[ReportVerdict, ...]
    measures: tuple[Measure, ...]
    contestants: tuple[ReportContestant, ...]
    further: tuple[Further, ...]
    rows: tuple[PromptRow, ...]
    gaps: tuple[Gap, ...]
    runs: tuple[TrainedRun, ...]
    limits: tuple[str, ...]
    judge: JudgedReport | None = None
    """None if no judge was asked."""
