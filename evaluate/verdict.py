"""The verdict on a report card: why an adapter is refused, what got worse, and whether it beats its rivals."""

from pydantic import BaseModel, ConfigDict

from evaluate.measures import CHANCE, Measures
from evaluate.metrics.code_answers import code_reasons
from evaluate.records import ContestantName
from evaluate.report_card import GeneralMeasures, ReportCard
from understudy.config.thresholds import Thresholds
from understudy.statistics.intervals import Estimate


class Verdict(BaseModel):
    """What follows from a report card."""

    model_config = ConfigDict(frozen=True)

    reasons: tuple[str, ...]
    """Why the adapter is refused; empty when it passes."""
    codes: tuple[str, ...]
    """By reason: the field of `Thresholds` that is missed; `loss` if its loss is above the base's."""
    worse: tuple[str, ...]
    """What got worse than the base, whatever the verdict."""
    rivals: tuple[str, ...]
    """Whether it beats each rival, in a sentence each."""
    open: tuple[str, ...]
    """What was not measured, and how to measure it."""

    @property
    def passed(self) -> bool:
        return not self.reasons


Missed = tuple[str, str]
"""The name of a threshold, and a sentence with the figure, the limit and what to do."""


def judge(card: ReportCard) -> Verdict:
    """Compares the figures of a card, not the ends of their intervals, with its thresholds."""
    t, mine = card.thresholds, card.contestants["adapter"]
    missed = [*_acting(card), *_style(mine, t, _telling(card)), *_sense(card, mine), *_memory(card), *_served(card)]
    if t.code is not None:
        missed += [("code", reason) for reason in code_reasons(card.code["adapter"], t.code)]
    return Verdict(
        reasons=tuple(reason for _, reason in missed),
        codes=tuple(code for code, _ in missed),
        worse=tuple(_worse(card)),
        rivals=tuple(_rivals(card)),
        open=tuple(_open(card)),
    )


def rival_name(name: ContestantName, card: ReportCard) -> str:
    """Names a rival for a sentence."""
    shots = card.contestants["few-shot"].shots if "few-shot" in card.contestants else 0
    return {
        "described": "the base with the description as its prompt",
        "few-shot": f"the base with {shots} examples",
    }.get(name, "the base")


def _telling(card: ReportCard) -> bool:
    """Whether the classifier of style can tell the data's answers from the base's."""
    return card.style_accuracy.low > CHANCE


def _acting(card: ReportCard) -> list[Missed]:
    least = card.thresholds.acts
    reason = (
        f"it finds {card.acts.value:.0%} of the data's answers more or less likely than the base does, at least "
        f"{least:.0%} must be; it does nothing where it is served: more epochs or a higher learning rate"
    )
    return [("acts", reason)] if card.acts.value < least else []


def _style(mine: Measures, t: Thresholds, telling: bool) -> list[Missed]:
    topics = "fewer epochs, a lower rank, or rows with more different topics"
    floors = (
        ("in_style", "are in style", mine.in_style, t.in_style, "more epochs or rows"),
        ("stopped", "end by themselves", mine.stopped, t.stopped, "check that the end is trained: understudy check"),
        ("on_topic", "are on topic", mine.on_topic, t.on_topic, topics),
    )
    return [
        (code, f"{found.value:.0%} of its answers {what}, at least {least:.0%} are needed; {remedy}")
        for code, what, found, least, remedy in floors
        if found is not None and found.value < least and (code != "in_style" or telling)
    ]


def _sense(card: ReportCard, mine: Measures) -> list[Missed]:
    t, fluent, missed, less = card.thresholds, mine.fluency, [], "fewer epochs or a lower learning rate"
    if fluent.excess is not None and fluent.excess.value > t.surprise:
        reason = (
            f"the base finds its answers {fluent.excess.value:.2f} nats a token less likely than the data's own, at "
            f"most {t.surprise:g} is allowed: it babbles; {less}"
        )
        missed.append(("surprise", reason))
    if fluent.made_up is not None and fluent.made_up.value > t.made_up:
        reason = (
            f"{fluent.made_up.value:.1%} of its words do not exist ({', '.join(fluent.words[:3])}), at most "
            f"{t.made_up:.1%} may; {less}"
        )
        missed.append(("made_up", reason))
    if mine.accuracy.meaning.value < t.accuracy:
        reason = (
            f"its answers are nearer in meaning to their own reference than to {mine.accuracy.meaning.value:.0%} of "
            f"the others, at least {t.accuracy:.0%} is needed (50% is chance): they do not answer what was asked; "
            "check that each row's answer belongs to its prompt, then fewer epochs"
        )
        missed.append(("accuracy", reason))
    details, gap = mine.accuracy.details, card.details_against_base
    if details is not None and gap is not None and details.value < t.details and gap.high < 0:
        reason = (
            f"what its answers say of their topics is nearer to their own reference than to {details.value:.0%} of the "
            f"others, at least {t.details:.0%} is needed (50% is chance), and clearly less than the base's "
            f"({100 * gap.value:+.0f} points): it names what was asked about and tells something else; check that each "
            "row's answer belongs to its prompt"
        )
        missed.append(("details", reason))
    if card.helpful is not None and card.helpful.high < t.helpful:
        who = card.helpfulness.source if card.helpfulness else ""
        reason = (
            f"it wins {card.helpful.value:.0%} of the comparisons with the base "
            f"({100 * card.helpful.low:.0f} to {100 * card.helpful.high:.0f}, {who}), clearly below {t.helpful:.0%}"
        )
        missed.append(("helpful", reason))
    return missed + _ceilings(
        ("echoes", "repeat the prompt", mine.echoes, t.echoes, "train on answers only, with a chat template"),
        ("degenerate", "are no answers", mine.degenerate, t.degenerate, less),
    )


def _memory(card: ReportCard) -> list[Missed]:
    """Checks what was copied, recited or forgotten."""
    t, few = card.thresholds, "fewer epochs, or more rows"
    by_heart = "to training prompts are the rows' own, word for word"
    missed = _ceilings(
        ("copied", "are copied from training answers", card.copied, t.copied, few),
        ("memorised", by_heart, card.memorised, t.memorised, few),
    )
    if card.against_base.high < 0:
        nats = -card.against_base.value
        missed.append(("loss", f"it finds the held-out answers less likely than the base does, by {nats:.2f} nats"))
    if card.forgetting.value > t.forgetting:
        reason = (
            f"neutral text costs it {card.forgetting.value:.2f} nats a token more than the base, at most "
            f"{t.forgetting:g} may be; fewer epochs or a lower learning rate"
        )
        missed.append(("forgetting", reason))
    if card.general is not None and card.general.adapter.value < t.general:
        reason = (
            f"of {card.general.known} general questions that the base answers correctly it answers "
            f"{card.general.adapter.value:.0%} when a plain answer is asked for, at least {t.general:.0%} are needed; "
            "fewer epochs, or rows that also answer plain questions"
        )
        missed.append(("general", reason))
    return missed


def _served(card: ReportCard) -> list[Missed]:
    if card.parity is None or card.parity <= card.thresholds.parity:
        return []
    reason = (
        f"on the base as it is served its loss is {card.parity:.2f} higher than on the base it was trained on, at "
        f"most {card.thresholds.parity:g} may be; train with method lora"
    )
    return [("parity", reason)]


def _ceilings(*lines: tuple[str, str, Estimate, float, str]) -> list[Missed]:
    return [
        (code, f"{found.value:.0%} of its answers {what}, at most {most:.0%} may; {remedy}")
        for code, what, found, most, remedy in lines
        if found.value > most
    ]


def _worse(card: ReportCard) -> list[str]:
    """Lists what is clearly worse than the base's, going by the intervals."""
    base, mine, worse = card.contestants["base"], card.contestants["adapter"], []
    clear = {name for name, change in card.changes.items() if change.high < 0}
    if card.forgetting.low > 0:
        worse.append(f"neutral text: {card.forgetting.value:.2f} nats a token")
    if card.general is not None:
        worse += _forgotten(card.general)
    if "on_topic" in clear and base.on_topic and mine.on_topic:
        worse.append(f"topic: {mine.on_topic.value:.0%} of the answers name it, the base's {base.on_topic.value:.0%}")
    if "stopped" in clear:
        worse.append(
            f"ends: {mine.stopped.value:.0%} of the answers end by themselves, the base's {base.stopped.value:.0%}"
        )
    if "accuracy" in clear:
        worse.append(f"accuracy: {mine.accuracy.meaning.value:.0%}, the base's {base.accuracy.meaning.value:.0%}")
    return worse


def _forgotten(general: GeneralMeasures) -> list[str]:
    """General questions that it answers clearly less often than the base, of all that both were asked."""
    told = (
        (general.change, "when a plain answer is asked for"),
        (general.change_voiced, "when nobody asks for a plain answer"),
    )
    clear = [(change, how) for change, how in told if change is not None and change.high < 0]
    return [
        f"general questions {how}: {100 * it.value:+.0f} points ({100 * it.low:+.0f} to {100 * it.high:+.0f})"
        for it, how in clear
    ]


def _rivals(card: ReportCard) -> list[str]:
    found = []
    for name, gap in card.against.items():
        theirs, rival = card.contestants[name].sound.value, rival_name(name, card)
        mine = card.contestants["adapter"].sound.value
        figures = (
            f"{mine:.0%} of its answers are in style and make sense, {theirs:.0%} of the rival's "
            f"({100 * gap.value:+.0f} points, {100 * gap.low:+.0f} to {100 * gap.high:+.0f})"
        )
        if gap.low > 0:
            found.append(f"better than {rival}: {figures}")
        elif gap.high < 0:
            found.append(f"WORSE than {rival}: {figures}")
        else:
            enough = "; that is enough, no training is needed" if theirs >= card.thresholds.in_style else ""
            found.append(f"not clearly better than {rival}: {figures}{enough}")
    return found


def _open(card: ReportCard) -> list[str]:
    found = []
    if not _telling(card):
        found.append(
            f"style: not judged; the data's answers cannot be told from the base's (a classifier is right in "
            f"{card.style_accuracy.value:.0%}, 50% is chance)"
        )
    if card.helpful is None:
        found.append(
            "helpfulness: not measured; give a judge (understudy verify --judge MODEL --judge-url URL) or collect votes"
        )
    if card.language is None:
        found.append("made-up words: not counted; no word list covers the language of the training answers")
    return found
