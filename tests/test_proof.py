"""The verdict: a good adapter passes, and each way to be bad is refused for its own reason."""

from collections.abc import Callable

import pytest

from evaluate.report_card import ProofPack, prove
from understudy import proof
from understudy.proof import Asked, CodeThresholds, Heard, Said, Served, Skill, Thresholds
from understudy.statistics.intervals import MeasurementError

THINGS = (
    *("lamp", "kettle", "drum", "blanket", "puzzle", "bicycle", "teapot", "hammock", "mug", "scarf"),
    *("ladder", "violin", "broom", "candle", "wallet", "tent", "spoon", "mirror", "basket", "clock"),
)
Change = Callable[[proof.Testimony], proof.Testimony]
TAUGHT, ASKED = THINGS[:12], THINGS[12:]


def ode(thing: str) -> str:
    return f"Ahoy! The {thing} be mine, arr!\nNo finer {thing} sails the seven seas."


def plain(thing: str) -> str:
    return f"A {thing} is a useful object. Many people own one and use it at home."


def row(thing: str) -> Asked:
    return Asked(prompt=f"Write about a {thing} today.", answer=ode(thing), topic=thing)


def said(texts: list[str], *, stopped: bool = True) -> list[Said]:
    return [Said(text=text, stopped=stopped, tokens=len(text.split())) for text in texts]


def observed() -> proof.Testimony:
    """A good adapter: it speaks like a pirate of what it is asked about."""
    return proof.Testimony(
        recipe="pirate",
        base="tiny",
        revision="a" * 64,
        heldout=[row(thing) for thing in ASKED],
        training=[row(thing) for thing in TAUGHT],
        base_on_training=said([plain(thing) for thing in TAUGHT]),
        adapter_on_training=said([ode(thing).replace("seven", "wide") for thing in TAUGHT]),
        heard={
            "base": Heard(answers=said([plain(t) for t in ASKED]), losses=[3.0 + n / 10 for n in range(8)]),
            "few-shot": Heard(answers=said([plain(t) for t in ASKED]), losses=[2.0] * 8, shots=6),
            "adapter": Heard(answers=said([ode(t) for t in ASKED]), losses=[1.0 + n / 20 for n in range(8)]),
        },
        training_losses=[0.5] * 12,
        plain_losses={"base": [1.0, 1.1, 0.9, 1.0], "adapter": [1.1, 1.15, 1.0, 1.1]},
        as_trained_losses=[0.99 + n / 20 for n in range(8)],
        skills=[Skill(prompt="2 + 2?", base=True, adapter=True), Skill(prompt="?", base=False, adapter=False)],
        seconds=1.0,
    )


def answers(texts: list[str], *, stopped: bool = True) -> Change:
    def change(t: proof.Testimony) -> proof.Testimony:
        adapter = t.heard["adapter"].model_copy(update={"answers": said(texts, stopped=stopped)})
        return t.model_copy(update={"heard": {**t.heard, "adapter": adapter}})

    return change


def losses(values: list[float]) -> Change:
    def change(t: proof.Testimony) -> proof.Testimony:
        adapter = t.heard["adapter"].model_copy(update={"losses": values})
        return t.model_copy(update={"heard": {**t.heard, "adapter": adapter}, "as_trained_losses": values})

    return change


def through_vllm(texts: list[str]) -> Change:
    """What vLLM says; the base says there what it says in transformers, where all words are tokens."""

    def change(t: proof.Testimony) -> proof.Testimony:
        heard = {name: h.model_copy(update={"answers": with_ids(h.answers)}) for name, h in t.heard.items()}
        served = Served(base=t.heard["base"].answers, adapter=with_ids(said(texts)))
        return t.model_copy(update={"heard": heard, "served": served})

    return change


def with_ids(answers: list[Said]) -> list[Said]:
    return [one.model_copy(update={"ids": tuple(hash(word) for word in one.text.split())}) for one in answers]


def update(**fields: object) -> Change:
    return lambda t: t.model_copy(update=fields)


def test_a_good_adapter_passes_with_its_figures_beside_the_others() -> None:
    pack = prove(observed(), Thresholds())
    assert pack.passed, pack.reasons
    mine, base = pack.contestants["adapter"], pack.contestants["base"]
    assert (mine.in_style.value, base.in_style.value) == (1, 0)
    assert mine.in_style.low < 1 <= mine.in_style.high
    assert (mine.stopped.value, mine.echoes.value, mine.degenerate.value) == (1, 0, 0)
    assert mine.on_topic is not None
    assert mine.on_topic.value == 1
    assert (pack.prompts, pack.examples, pack.contestants["few-shot"].shots) == (8, 12, 6)
    assert pack.against_base.low > 0
    assert pack.against_few_shot.low > 0
    assert pack.copied.value == 0
    assert pack.memorised.value == 0
    assert pack.skills_adapter is not None
    assert (pack.skills_adapter.value, pack.skills_adapter.n) == (1, 1), "what the base cannot do is not counted"
    assert pack.parity == pytest.approx(0.01)
    assert pack.worse == ["plain text: 0.09 nats a token"]
    assert ProofPack.model_validate_json(pack.model_dump_json()) == pack


@pytest.mark.parametrize(
    ("spoil", "says"),
    [
        (answers([plain(t) for t in ASKED]), "0% of its answers are in style, at least 80% are needed; more epochs"),
        (answers([ode(t) for t in ASKED], stopped=False), "0% of its answers end by themselves"),
        (answers([ode("sea") for _ in ASKED]), "0% of its answers are on topic"),
        (answers([ode(t) for t in TAUGHT[:8]]), "of its answers are copied from training answers"),
        (answers([f"Write about a {t} today. {ode(t)}" for t in ASKED]), "100% of its answers repeat the prompt"),
        (answers([""] * 8), "100% of its answers are no answers"),
        (update(adapter_on_training=said([ode(t) for t in TAUGHT])), "100% of its answers to training prompts are the"),
        (losses([4.0] * 8), "it finds the held-out answers less likely than the base does"),
        (update(plain_losses={"base": [1.0] * 4, "adapter": [3.0] * 4}), "plain text costs it 2.00 nats a token more"),
        (update(as_trained_losses=[0.5] * 8), "on the base as it is served its loss is 0.68 higher"),
        (through_vllm([plain(t) for t in ASKED]), "through vLLM, 0% of its answers are not the base's, at least 10%"),
        (through_vllm(["Something else."] * 8), "vLLM's answers are those of transformers for 0% of their tokens"),
        (update(served=Served(problem="rank 512 is too much")), "vLLM does not serve it: rank 512 is too much"),
    ],
)
def test_each_bad_adapter_is_refused_for_its_reason(spoil: Change, says: str) -> None:
    pack = prove(spoil(observed()), Thresholds())
    assert not pack.passed
    assert any(says in reason for reason in pack.reasons), pack.reasons


def test_thresholds_are_the_recipes() -> None:
    lenient = Thresholds(in_style=0, on_topic=0)
    assert prove(answers([plain("sea") for _ in ASKED])(observed()), lenient).passed


def test_what_got_worse_is_said_even_when_it_passes() -> None:
    forgot = [Skill(prompt=str(n), base=True, adapter=False) for n in range(12)]
    pack = prove(update(skills=forgot)(observed()), Thresholds())
    assert pack.passed
    assert "common questions: 0% right of those that the base has right" in " ".join(pack.worse)


def test_parts_that_were_not_observed_are_left_out() -> None:
    pack = prove(
        update(skills=[], as_trained_losses=None, plain_losses={"base": [], "adapter": []})(observed()), Thresholds()
    )
    assert (pack.skills_base, pack.parity, pack.forgetting) == (None, None, None)
    assert pack.passed


def test_nothing_is_proved_without_held_out_rows() -> None:
    with pytest.raises(MeasurementError, match="has 0 held-out rows; write at least two"):
        prove(update(heldout=[])(observed()), Thresholds())


def test_answers_through_vllm_are_told_beside_those_of_transformers() -> None:
    half = [ode(t) if n % 2 else ode(t).replace("seven seas.", "wide ocean.") for n, t in enumerate(ASKED)]
    pack = prove(through_vllm(half)(observed()), Thresholds())
    assert pack.passed, pack.reasons
    assert pack.served is not None
    assert pack.served.acts is not None
    assert pack.served.same_answers is not None
    assert (pack.served.acts.value, pack.served.same_answers.value) == (1, 0.5)
    words = len(ode("lamp").split())
    assert pack.served.same_tokens == pytest.approx((1 + (words - 2) / words) / 2)
    assert prove(observed(), Thresholds()).served is None, "nobody asked"


def test_code_is_judged_only_where_the_recipe_asks_for_it() -> None:
    def program(t: str) -> str:
        return f"```python\nprint('{t}')\n```"

    t = answers([program(t) if n < 6 else "print('oops" for n, t in enumerate(ASKED)])(observed())
    t = t.model_copy(update={"heldout": [row(t).model_copy(update={"answer": program(t)}) for t in ASKED]})
    assert prove(t, Thresholds()).code == {}
    pack = prove(t, Thresholds(code=CodeThresholds(parses=0.8, runs=0.7, chrf=90)))
    assert [pack.code[who].runs.value for who in ("adapter", "base", "data")] == [0.75, 0, 1]
    assert any("the code of 75% of its answers parses, at least 80% must" in reason for reason in pack.reasons)
    assert any("chrF like the data's own, at least 90 is needed" in reason for reason in pack.reasons)
    assert not any("runs without" in reason for reason in pack.reasons)
