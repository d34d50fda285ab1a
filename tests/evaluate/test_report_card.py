"""Report card and verdict: a good adapter passes, and each way to be bad is refused for its own reason."""

from collections.abc import Callable

import pytest

from evaluate.records import EvalRecord, Helpfulness, ModelOutputs
from evaluate.report_card import ReportCard, report_card
from evaluate.verdict import Verdict, judge
from tests.support.evaluations import ASKED, TAUGHT, general, observed, ode, plain, row, said
from tests.support.word_vectors import embed
from understudy.config.thresholds import CodeThresholds, Thresholds
from understudy.errors import MeasurementError

Change = Callable[[EvalRecord], EvalRecord]


def adapter(**fields: object) -> Change:
    """Changes the adapter's outputs."""

    def change(record: EvalRecord) -> EvalRecord:
        spoilt = record.outputs["adapter"].model_copy(update=fields)
        return record.model_copy(update={"outputs": {**record.outputs, "adapter": spoilt}})

    return change


def answers(texts: list[str], *, stopped: bool = True) -> Change:
    return adapter(answers=said(texts, stopped=stopped), surprise=[3.5 if text else None for text in texts])


def update(**fields: object) -> Change:
    return lambda record: record.model_copy(update=fields)


def carded(record: EvalRecord, thresholds: Thresholds | None = None) -> tuple[ReportCard, Verdict]:
    card = report_card(record, thresholds or Thresholds(), embed)
    return card, judge(card)


def test_a_good_adapter_passes_with_its_figures_beside_its_rivals() -> None:
    card, verdict = carded(observed())
    assert verdict.passed, verdict.reasons
    mine, base = card.contestants["adapter"], card.contestants["base"]
    assert (mine.in_style.value, base.in_style.value) == (1, 0)
    assert mine.in_style.low < 1 <= mine.in_style.high
    assert (mine.sound.value, base.sound.value) == (1, 0)
    assert (mine.stopped.value, mine.echoes.value, mine.degenerate.value) == (1, 0, 0)
    assert mine.accuracy.meaning.value == 1
    assert mine.fluency.excess is not None
    assert mine.fluency.excess.value == pytest.approx(3.5 - 3.35)
    assert mine.fluency.made_up is not None
    assert mine.fluency.made_up.value == 0
    assert (card.prompts, card.examples, card.contestants["few-shot"].shots) == (8, 12, 6)
    assert carded(update(rows=80)(observed()))[0].examples == 80, "all that were trained on, not the sample"
    assert card.contestants["described"].loss is None
    assert card.against_base.low > 0
    assert card.general is not None
    assert (card.general.known, card.general.adapter.value) == (10, 1), "what the base cannot answer is not counted"
    assert card.parity == pytest.approx(0.01)
    assert verdict.worse == ("neutral text: 0.09 nats a token",)
    assert verdict.rivals[0].startswith("better than the base: 100% of its answers are in style and make sense, 0%")
    assert "helpfulness: not measured" in verdict.open[0]
    assert ReportCard.model_validate_json(card.model_dump_json()) == card


BABBLE = "Ahoy! The {} bex minz, arrgle!\nNo finser {} sailex the sevelt seaq."


@pytest.mark.parametrize(
    ("spoil", "says"),
    [
        (adapter(losses=[3.0 + n / 10 for n in range(8)]), "it finds 0% of the data's answers more or less likely"),
        (answers([plain(t) for t in ASKED]), "0% of its answers are in style, at least 80% are needed; more epochs"),
        (answers([ode(t) for t in ASKED], stopped=False), "0% of its answers end by themselves"),
        (answers([ode("sea") for _ in ASKED]), "0% of its answers are on topic"),
        (answers([ode(t) for t in (*ASKED[1:], ASKED[0])]), "they do not answer what was asked"),
        (
            adapter(surprise=[5.5] * 8),
            "nats a token less likely than the data's own, at most 0.5 is allowed: it babbles",
        ),
        (answers([BABBLE.format(t, t) for t in ASKED]), "of its words do not exist (bex, minz, arrgle)"),
        (answers([ode(t) for t in TAUGHT[:8]]), "of its answers are copied from training answers"),
        (answers([f"Write about a {t} today. {ode(t)}" for t in ASKED]), "100% of its answers repeat the prompt"),
        (answers([""] * 7 + [ode(ASKED[7])]), "88% of its answers are no answers"),
        (update(adapter_on_training=said([ode(t) for t in TAUGHT])), "100% of its answers to training prompts are the"),
        (adapter(losses=[4.0] * 8), "it finds the held-out answers less likely than the base does"),
        (
            update(neutral_losses={"base": [1.0] * 4, "adapter": [3.0] * 4}),
            "neutral text costs it 2.00 nats a token more than the base",
        ),
        (update(general=general(1, 9)), "of 10 general questions that the base answers correctly it answers 10%"),
        (update(as_trained_losses=[0.5] * 4), "on the base as it is served its loss is 0.57 higher"),
        (
            update(helpfulness=Helpfulness(source="judge j", outcomes=[1.0] + [0.0] * 19)),
            "it wins 5% of the comparisons with the base (1 to 24, judge j), clearly below 50%",
        ),
    ],
)
def test_each_bad_adapter_is_refused_for_its_reason(spoil: Change, says: str) -> None:
    _, verdict = carded(spoil(observed()))
    assert any(says in reason for reason in verdict.reasons), verdict.reasons


def test_what_is_copied_from_rows_that_were_not_asked_is_copied_too() -> None:
    asked, rest = [row(thing) for thing in TAUGHT[:6]], [row(thing) for thing in TAUGHT[6:]]
    record = answers([ode(thing) for thing in (*TAUGHT[6:], *TAUGHT[6:8])])(observed())
    fewer = {"base_on_training": record.base_on_training[:6], "adapter_on_training": record.adapter_on_training[:6]}
    card, _ = carded(record.model_copy(update={"training": asked, "rest": rest, **fewer}))
    assert card.copied.value == 1


def test_one_answer_less_is_not_clearly_worse_and_many_are() -> None:
    texts = [ode(t) for t in ASKED]
    for unended, lines in ((1, 0), (7, 1)):
        stopped = [*said(texts[unended:]), *said(texts[:unended], stopped=False)]
        _, verdict = carded(adapter(answers=stopped)(observed()))
        assert sum(line.startswith("ends: ") for line in verdict.worse) == lines
    for wrong, lines in ((1, 0), (5, 0), (6, 2)):
        _, verdict = carded(update(general=general(50 - wrong, wrong))(observed()))
        assert sum(line.startswith("general questions ") for line in verdict.worse) == lines, "5:0 is no evidence"


def test_a_voice_that_the_base_has_already_is_not_judged_by_style() -> None:
    record = update(base_on_training=said([ode(thing) for thing in TAUGHT]))(observed())
    card, verdict = carded(answers([plain(t) for t in ASKED])(record))
    assert card.style_accuracy.low <= 0.5
    assert not [reason for reason in verdict.reasons if "in style" in reason]
    assert verdict.open[0].startswith("style: not judged; the data's answers cannot be told from the base's")


def test_thresholds_are_the_recipes() -> None:
    lenient = Thresholds(in_style=0, on_topic=0, acts=0, accuracy=0)
    assert carded(answers([plain("sea") for _ in ASKED])(observed()), lenient)[1].passed


def test_few_examples_in_the_prompt_may_be_enough_and_the_card_says_so() -> None:
    few = ModelOutputs(answers=said([ode(t) for t in ASKED]), shots=6)
    record = observed()
    _, verdict = carded(record.model_copy(update={"outputs": {**record.outputs, "few-shot": few}}))
    said_ = next(line for line in verdict.rivals if "6 examples" in line)
    assert said_.startswith("not clearly better than the base with 6 examples")
    assert said_.endswith("that is enough, no training is needed")


def test_parts_that_were_not_observed_are_left_out() -> None:
    card, verdict = carded(update(general=[], as_trained_losses=None)(observed()))
    assert (card.general, card.parity, card.helpful) == (None, None, None)
    assert verdict.passed


def test_nothing_is_said_without_held_out_rows() -> None:
    with pytest.raises(MeasurementError, match="has 0 held-out rows; write at least two"):
        carded(update(heldout=[])(observed()))


def test_code_is_judged_only_where_the_recipe_asks_for_it() -> None:
    def program(t: str) -> str:
        return f"```python\nprint('{t}')\n```"

    record = answers([program(t) if n < 6 else "print('oops" for n, t in enumerate(ASKED)])(observed())
    rows = [row(t).model_copy(update={"answer": program(t)}) for t in ASKED]
    record = record.model_copy(update={"heldout": rows})
    assert carded(record)[0].code == {}
    card, verdict = carded(record, Thresholds(code=CodeThresholds(parses=0.8, runs=0.7, chrf=90)))
    assert [card.code[who].runs.value for who in ("adapter", "base", "data")] == [0.75, 0, 1]
    assert any("the code of 75% of its answers parses, at least 80% must" in reason for reason in verdict.reasons)
    assert any("chrF like the data's own, at least 90 is needed" in reason for reason in verdict.reasons)
    assert not any("runs without" in reason for reason in verdict.reasons)
