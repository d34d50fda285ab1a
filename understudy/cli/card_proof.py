"""What a model card tells of a proof pack. It loads the measuring libraries: import it where it is needed."""

from evaluate.report_card import ProofPack
from train.card import SAMPLES, CardProof, Figure, Range, Sample, Scale
from understudy.proof import Testimony
from understudy.statistics.intervals import Estimate

COMPARED: tuple[tuple[str, str, Scale], ...] = (
    ("in_style", "in style", "share"),
    ("on_topic", "on topic", "share"),
    ("stopped", "end by themselves", "share"),
    ("echoes", "repeat the prompt", "share"),
    ("degenerate", "are no answers", "share"),
    ("words", "words", "number"),
    ("loss", "loss on the data's answers, nats a token", "number"),
)
"""Of all contestants; by their names in the proof pack."""

CODE: tuple[tuple[str, str, Scale], ...] = (
    ("parses", "code that parses", "share"),
    ("runs", "code that runs to its end", "share"),
    ("chrf", "likeness of code to the data's (chrF, 0 to 100)", "number"),
)


def card_proof(pack: ProofPack, testimony: Testimony) -> CardProof:
    """The figures, the verdict, and the first answers side by side."""
    answers = [testimony.heard[name].answers for name in ("base", "few-shot", "adapter")]
    rows = zip(testimony.heldout, *answers, strict=True)
    samples = [Sample(asked.prompt, *(said.text for said in texts)) for asked, *texts in rows]
    return CardProof(
        prompts=pack.prompts,
        shots=pack.contestants["few-shot"].shots,
        figures=(*_compared(pack), *_alone(pack)),
        reasons=tuple(pack.reasons),
        worse=tuple(pack.worse),
        samples=tuple(samples[:SAMPLES]),
    )


def _compared(pack: ProofPack) -> list[Figure]:
    figures = []
    for prefix, lines, measured in (("", COMPARED, pack.contestants), ("code_", CODE, pack.code)):
        for key, label, scale in lines if measured else ():
            base, few, mine = (_range(getattr(measured[who], key)) for who in ("base", "few-shot", "adapter"))
            if mine:
                figures.append(Figure(f"{prefix}{key}", label, scale, mine, base, few))
    return figures


def _alone(pack: ProofPack) -> list[Figure]:
    """What is measured of the adapter only."""
    served = pack.served.same_answers if pack.served else None
    lines: tuple[tuple[str, str, Scale, Estimate | None], ...] = (
        ("against_base", "loss below the base's, nats a token", "number", pack.against_base),
        ("against_few_shot", "loss below few-shot's, nats a token", "number", pack.against_few_shot),
        ("copied", "answers copied from training answers", "share", pack.copied),
        ("memorised", "training rows known word for word", "share", pack.memorised),
        ("forgetting", "loss above the base's on the base's own plain text, nats a token", "number", pack.forgetting),
        ("skills", "common questions still right that the base has right", "share", pack.skills_adapter),
        ("served", "answers through vLLM that are transformers' own", "share", served),
        ("style_accuracy", "style classifier right on unseen texts", "share", pack.style_accuracy),
    )
    return [Figure(key, label, scale, mine) for key, label, scale, found in lines if (mine := _range(found))]


def _range(estimate: Estimate | None) -> Range | None:
    return Range(estimate.value, estimate.low, estimate.high, estimate.n) if estimate else None
