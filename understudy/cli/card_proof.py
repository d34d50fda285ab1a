"""What a model card tells of an evaluation. It loads the measuring libraries: import it where it is needed."""

from operator import attrgetter

from evaluate.report_card import ReportCard
from evaluate.verified_runs import VerifiedRun
from train.hub.model_card import SAMPLES, CardFigure, CardProof, CardSample, Range, Scale
from understudy.statistics.intervals import Estimate

COMPARED: tuple[tuple[str, str, Scale], ...] = (
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
"""Of all contestants; by their names in the report card."""

CODE: tuple[tuple[str, str, Scale], ...] = (
    ("parses", "code that parses", "share"),
    ("runs", "code that runs to its end", "share"),
    ("chrf", "likeness of code to the data's (chrF, 0 to 100)", "number"),
)


def card_proof(run: VerifiedRun) -> CardProof:
    """The figures, the verdict, and the first answers side by side."""
    card, verdict, record = run.card, run.verdict, run.record
    answers = [record.outputs[name].answers for name in ("base", "few-shot", "adapter")]
    rows = zip(record.heldout, *answers, strict=True)
    samples = [CardSample(asked.prompt, *(said.text for said in texts)) for asked, *texts in rows]
    return CardProof(
        prompts=card.prompts,
        shots=card.contestants["few-shot"].shots,
        figures=(*_compared(card), *_alone(card)),
        reasons=verdict.reasons,
        worse=verdict.worse,
        rivals=verdict.rivals,
        unmeasured=verdict.open,
        samples=tuple(samples[:SAMPLES]),
    )


def _compared(card: ReportCard) -> list[CardFigure]:
    figures = []
    for prefix, lines, measured in (("", COMPARED, card.contestants), ("code_", CODE, card.code)):
        for key, label, scale in lines if measured else ():
            found = {who: _range(attrgetter(key)(one)) for who, one in measured.items()}
            if mine := found["adapter"]:
                rivals = (found.get(who) for who in ("base", "few-shot", "described"))
                figures.append(CardFigure(f"{prefix}{key.replace('.', '_')}", label, scale, mine, *rivals))
    return figures


def _alone(card: ReportCard) -> list[CardFigure]:
    """What is measured of the adapter only."""
    lines: tuple[tuple[str, str, Scale, Estimate | None], ...] = (
        ("against_base", "loss below the base's, nats a token", "number", card.against_base),
        ("copied", "answers copied from training answers", "share", card.copied),
        ("memorised", "training rows known word for word", "share", card.memorised),
        ("forgetting", "loss above the base's on neutral text, nats a token", "number", card.forgetting),
        ("helpful", "helpfulness: comparisons with the base that it wins", "share", card.helpful),
        ("general", "general questions still correct", "share", card.general.adapter if card.general else None),
        ("acts", "acts: data's answers whose likelihood is not the base's", "share", card.acts),
        ("style_accuracy", "style classifier right on unseen texts", "share", card.style_accuracy),
    )
    return [CardFigure(key, label, scale, mine) for key, label, scale, found in lines if (mine := _range(found))]


def _range(estimate: Estimate | None) -> Range | None:
    return Range(estimate.value, estimate.low, estimate.high, estimate.n) if estimate else None
