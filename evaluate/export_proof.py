"""Whether an exported model says what the served one says.

The same prompts are asked of both, greedily. What is compared: the tokens of every prompt (chat template and
tokenizer), the answers word for word, along our own answers the token that the export would have chosen at each place
(teacher-forced, so that one early difference does not count for all that follows), and, pairwise, how many of the
persona's golden expectations its own answers meet and ours do.
"""

from collections.abc import Sequence

from pydantic import BaseModel, ConfigDict

LEAST_EQUAL = 0.95
"""Share of answers that must be equal word for word where both compute in float32: 57 of 60."""
LEAST_AGREEMENT = {"f32": 0.99, "f16": 0.97, "bf16": 0.97, "q8_0": 0.95, "q4_1": 0.90}
"""Share of next tokens that must agree along our answers, by the precision of the weights."""
LEAST_ENDED = 0.95
"""Share of our ended answers after which the export ends its turn, too, teacher-forced."""
CHANCE = 0.05
"""The style is another if so many more answers lose some of it than gain some with at most this probability."""
WORDED = 48
"""Tokens of answers that are compared word for word."""


class ExportProof(BaseModel):
    """What was compared, and whether the export may be used in place of the served model."""

    model_config = ConfigDict(frozen=True)

    runtime: str
    """The program that ran the export, with its version."""
    precision: str
    prompts: int
    templates_equal: int
    """Prompts that the export's own chat template writes as ours does."""
    stops: bool
    """Whether the export stops at our end of turn."""
    prompts_equal: int
    """Prompts whose tokens are ours, one by one."""
    answers_equal: int
    """Answers whose tokens are ours, one by one."""
    tokens: int
    """Tokens of our answers, with the ends of turn."""
    tokens_agree: int
    ended: int
    """Our answers that end by themselves."""
    ended_agree: int
    """After how many of them the export ends its turn as well."""
    styled: int = 0
    """Pairs of answers, ours and the export's own, in which the persona's golden expectations were looked for."""
    styled_less: int = 0
    """Pairs in which the export's meets fewer of them than ours."""
    styled_more: int = 0
    """Pairs in which it meets more."""
    reasons: list[str]
    """Why it does not pass; empty if it does."""

    @property
    def passed(self) -> bool:
        return not self.reasons

    @property
    def agreement(self) -> float:
        """Share of next tokens that agree, 0 to 1."""
        return self.tokens_agree / self.tokens if self.tokens else 0.0


def prove(
    runtime: str,
    precision: str,
    *,
    prompts: Sequence[Sequence[int]],
    answers: Sequence[Sequence[int]],
    ended: Sequence[bool],
    ends: Sequence[int],
    their_prompts: Sequence[Sequence[int]],
    their_answers: Sequence[Sequence[int]],
    their_next: Sequence[Sequence[int]],
    styled: Sequence[tuple[int, int]] = (),
    stops: bool = True,
    templates_equal: int | None = None,
    faults: Sequence[str] = (),
) -> ExportProof:
    """Compares an export with the served model. Lists have one entry for each prompt, if nothing else is said.

    Args:
        answers: ours, greedy, without the end of turn.
        ended: whether ours ended by itself.
        ends: tokens that end a turn.
        their_next: what the export chooses at each token of our answer, and after the last.
        styled: for some answers, how many golden expectations of the persona ours meets, and how many the export's own.
        stops: whether it stops at our end of turn.
        templates_equal: prompts that its own chat template writes as ours does; None means all of them.
        faults: what is wrong with its files, as far as they were looked at; they come first among the reasons.
    """
    tokens = agree = ended_agree = 0
    for ours, done, following in zip(answers, ended, their_next, strict=True):
        agree += sum(one == other for one, other in zip(ours, following, strict=False))
        tokens += len(ours) + done
        closes = done and len(following) > len(ours) and following[len(ours)] in ends
        agree += closes
        ended_agree += closes
    found = ExportProof(
        runtime=runtime,
        precision=precision,
        prompts=len(prompts),
        templates_equal=len(prompts) if templates_equal is None else templates_equal,
        stops=stops,
        prompts_equal=_equal(prompts, their_prompts),
        answers_equal=_equal([one[:WORDED] for one in answers], [one[:WORDED] for one in their_answers]),
        tokens=tokens,
        tokens_agree=agree,
        ended=sum(ended),
        ended_agree=ended_agree,
        styled=len(styled),
        styled_less=sum(theirs < ours for ours, theirs in styled),
        styled_more=sum(theirs > ours for ours, theirs in styled),
        reasons=[],
    )
    return found.model_copy(update={"reasons": [*faults, *_reasons(found)]})


def _equal(ours: Sequence[Sequence[int]], theirs: Sequence[Sequence[int]]) -> int:
    return sum(list(one) == list(other) for one, other in zip(ours, theirs, strict=True))


def _reasons(found: ExportProof) -> list[str]:
    reasons = []
    if not found.stops:
        reasons.append("it does not stop at our end of turn: its stop token is missing or another one")
    if found.templates_equal < found.prompts:
        reasons.append(
            f"its chat template writes {found.prompts - found.templates_equal} of {found.prompts} prompts otherwise "
            "than ours"
        )
    if found.prompts_equal < found.prompts:
        reasons.append(
            f"{found.prompts - found.prompts_equal} of {found.prompts} prompts have other tokens than ours: "
            "its chat template or its tokenizer differs"
        )
    least = LEAST_AGREEMENT[found.precision]
    if found.agreement < least:
        reasons.append(f"{found.agreement:.1%} of the next tokens agree with ours; {found.precision} needs {least:.0%}")
    if found.precision == "f32" and found.answers_equal < LEAST_EQUAL * found.prompts:
        reasons.append(f"{found.answers_equal} of {found.prompts} answers are ours word for word; f32 needs 95%")
    if found.ended_agree < LEAST_ENDED * found.ended:
        reasons.append(f"it ends {found.ended_agree} of the {found.ended} answers that end; 95% are needed")
    if _chance(found.styled_less, found.styled_more) <= CHANCE:
        reasons.append(
            f"{found.styled_less} of {found.styled} answers meet fewer golden expectations than ours and "
            f"{found.styled_more} meet more: the style is another"
        )
    return reasons


def _chance(less: int, more: int) -> float:
    """How probable it is that at least `less` of the pairs that differ are worse if either is as likely (sign test)."""
    from scipy.stats import binomtest  # here: half a second to import

    return float(binomtest(less, less + more, alternative="greater").pvalue) if less + more else 1.0
