"""The live probe on a scripted engine: each way to be bad has its own reason, and good candidates pass."""

import asyncio
import json
import math
from collections.abc import Callable
from pathlib import Path

import pytest
from aiohttp import web
from hypothesis import given
from hypothesis import strategies as st

from serve.engine.adapter_engine import ProbeReport
from serve.engine.logprobs import ScoredAnswer, difference, same
from serve.rollout.judgement import PROMPTS as ANYBODYS
from serve.rollout.judgement import meets
from serve.rollout.probe import Probe, slow
from tests.support.fake_engine import FakeEngine
from understudy.config.recipe import Recipe, load_recipe
from understudy.errors import ConfigError
from understudy.statistics.degenerate_text import degenerate
from understudy.workflows.personas import card_of

OLD, NEW = "poet@old", "poet@new"
PROMPTS = ["Write about a lamp.", "Promote a picnic basket.", "Tell me about wool socks."]
GOLDEN = [{"prompt": prompt, "expect": "^Ode"} for prompt in [*PROMPTS, "Describe a garden gnome."]]


def told(text: str, logprob: float = -0.5, finish: str = "stop") -> dict:
    """A choice in the engine's form: one token a word."""
    tokens = [{"token": word, "logprob": logprob} for word in text.split()]
    return {"message": {"content": text}, "finish_reason": finish, "logprobs": {"content": tokens}}


class ScriptedEngine(FakeEngine):
    """Base, incumbent and candidate answer as `voices` say; a voice may look at what was asked before."""

    def __init__(self) -> None:
        super().__init__()
        self.loaded |= {OLD: "", NEW: ""}
        self.voices: dict[str, Callable[[str], dict]] = {
            "base": lambda prompt: told(f"A plain text about {prompt[-6:]}", -0.4),
            OLD: lambda prompt: told(f"Ode to {prompt[-6:]}", -0.3),
            NEW: lambda prompt: told(f"Ode on {prompt[-6:]}", -0.2),
        }
        self.pause = dict.fromkeys(self.voices, 0.0)
        """Seconds that an answer takes."""

    async def _chat(self, request: web.Request) -> web.StreamResponse:
        body = await request.json()
        model = body["model"]
        self.asked.append(model)
        await asyncio.sleep(self.pause[model])
        choice = self.voices[model](body["messages"][-1]["content"])
        return web.Response(text=json.dumps({"choices": [choice]}), content_type="application/json")

    def after_the_candidate(self, model: str, then: Callable[[str], dict]) -> None:
        """`model` answers as `then` says once the candidate was asked: it was harmed."""
        before = self.voices[model]
        self.voices[model] = lambda prompt: (then if NEW in self.asked else before)(prompt)


def probe(
    engine: ScriptedEngine, golden: list | None = None, live: str | None = OLD, prompts: list[str] = PROMPTS
) -> ProbeReport:
    async def run() -> ProbeReport:
        async with engine.serving() as session:
            return await Probe(engine, session).check(NEW, prompts, golden=golden or [], live=live)

    return asyncio.run(run())


@pytest.mark.parametrize("live", [OLD, None])
@pytest.mark.parametrize("golden", [GOLDEN, []])
def test_a_good_candidate_passes_and_what_was_measured_is_told(live: str | None, golden: list) -> None:
    report = probe(ScriptedEngine(), golden, live)
    assert report.problems == []
    figures = report.figures
    assert (figures["prompts"], figures["ended"]) == (3, 3)
    assert figures["logprob_difference"] == pytest.approx(0.2)
    assert figures["noise"] == 0
    assert figures["golden"] == len(golden)
    assert figures["golden_met"] == (4 if golden else None)
    assert figures["golden_met_live"] == (4 if golden and live else None)
    assert figures["reference"] == (live or "base")
    assert figures["seconds"] > 0  # pyright: ignore[reportOperatorIssue]
    json.dumps(figures, allow_nan=False)


def test_the_others_are_asked_before_and_after_and_nobody_more_than_needed(monkeypatch: pytest.MonkeyPatch) -> None:
    # On a busy machine a hiccup is looked at again, in turns.
    monkeypatch.setattr("serve.rollout.probe.SLOW_FLOOR", 60.0)
    engine = ScriptedEngine()
    probe(engine, GOLDEN)
    first, last = engine.asked.index(NEW), len(engine.asked) - engine.asked[::-1].index(NEW)
    for other in ("base", OLD):
        assert other in engine.asked[:first]
        assert other in engine.asked[last:]
    assert len(engine.asked) <= 18


def only(text: str, **more) -> Callable[[ScriptedEngine], None]:
    return lambda engine: engine.voices.update({NEW: lambda prompt: told(text, **more)})


def acts_like_the_base(engine: ScriptedEngine) -> None:
    engine.voices[NEW] = engine.voices["base"]


def within_noise(engine: ScriptedEngine) -> None:
    """The base moves by 0.02 from batch to batch, and the candidate by no more."""
    engine.voices[NEW] = lambda prompt: told(f"A plain text about {prompt[-6:]}", -0.41)
    engine.after_the_candidate("base", lambda prompt: told(f"A plain text about {prompt[-6:]}", -0.42))


def harms(model: str, logprob: float) -> Callable[[ScriptedEngine], None]:
    return lambda engine: engine.after_the_candidate(model, lambda prompt: told("!!! !!! !!!", logprob))


def fails(engine: ScriptedEngine) -> None:
    engine.loaded.pop(NEW)
    engine.voices[NEW] = lambda prompt: {}["no such model"]


def dawdles(engine: ScriptedEngine) -> None:
    engine.pause[NEW] = 0.3


@pytest.mark.parametrize(
    ("spoil", "says"),
    [
        (acts_like_the_base, "the adapter has no effect"),
        (within_noise, "the adapter has no effect"),
        (only("Ode on and on and", finish="length"), "no answer ended by itself within 256 tokens"),
        (only(""), "it answers nothing on 'Write about a lamp.'"),
        (only("Ode to joy", logprob=math.nan), "its probabilities are not numbers on"),
        (only("very " * 60), "it repeats itself on"),
        (only("ha" * 100), "it repeats itself on"),
        (only("\x01\x02\ufffd\ufffd oh"), "broken or control characters on"),
        (only(PROMPTS[0]), "it repeats the prompt on 'Write about a lamp.'"),
        (only("Ode <|im_start|>user"), "the marks of a chat template on"),
        (harms("base", -9.0), "the base answers differently since the candidate is loaded"),
        (harms("base", math.nan), "the base answers differently since the candidate is loaded"),
        (harms(OLD, -9.0), "the live revision answers differently since the candidate is loaded"),
        (fails, "the engine could not answer with it"),
        (dawdles, "times as long as poet@old"),
    ],
)
def test_each_bad_candidate_is_refused_for_its_own_reason(spoil: Callable[[ScriptedEngine], None], says: str) -> None:
    engine = ScriptedEngine()
    spoil(engine)
    report = probe(engine)
    assert any(says in problem for problem in report.problems), report.problems
    assert len({problem.partition(" on '")[0] for problem in report.problems}) == 1, report.problems
    assert report.figures["seconds"] is not None
    json.dumps(report.figures, allow_nan=False)


def test_one_long_answer_of_three_is_forgiven() -> None:
    engine = ScriptedEngine()
    engine.voices[NEW] = lambda prompt: told("Ode without end", -0.2, "length" if prompt == PROMPTS[0] else "stop")
    assert probe(engine).problems == []


@pytest.mark.parametrize(("odd", "refused"), [(0, False), (1, False), (2, True), (3, True)])
def test_without_prompts_of_its_own_one_odd_answer_is_forgiven(odd: int, refused: bool) -> None:
    engine = ScriptedEngine()
    strange = ANYBODYS[:odd]
    engine.voices[NEW] = lambda prompt: told("very " * 60 if prompt in strange else "Ode to joy", -0.2)
    assert bool(probe(engine, prompts=[]).problems) == refused


def test_a_passing_slowness_is_measured_again() -> None:
    engine = ScriptedEngine()
    engine.pause[NEW] = 0.3
    quick = engine.voices[NEW]

    def voice(prompt: str) -> dict:
        engine.pause[NEW] = 0.0 if engine.asked.count(NEW) > 4 else engine.pause[NEW]
        return quick(prompt)

    engine.voices[NEW] = voice
    assert probe(engine).problems == []


@pytest.mark.parametrize(
    ("met", "of_incumbent", "passes"),
    [(4, 4, True), (3, 4, True), (2, 4, False), (0, 1, True), (0, 2, False), (2, None, True), (1, None, False)],
)
def test_golden_prompts_are_measured_against_the_incumbent(met: int, of_incumbent: int | None, passes: bool) -> None:
    engine = ScriptedEngine()

    def voice(count: int, logprob: float) -> Callable[[str], dict]:
        keen = [g["prompt"] for g in GOLDEN[:count]]
        return lambda prompt: told("Ode to it" if prompt in keen else "Some prose", logprob)

    engine.voices |= {NEW: voice(met, -0.2), OLD: voice(of_incumbent or 0, -0.3)}
    report = probe(engine, GOLDEN, None if of_incumbent is None else OLD)
    assert (report.figures["golden_met"], report.figures["golden_met_live"]) == (met, of_incumbent)
    if passes:
        assert report.problems == []
    else:
        assert report.problems[0].startswith(f"it meets {met} of 4 golden expectations")


def answer(logprobs: list[float], tokens: str = "abcdefgh") -> ScoredAnswer:
    return ScoredAnswer(text=tokens, finish="stop", tokens=list(tokens[: len(logprobs)]), logprobs=logprobs)


def test_answers_that_part_at_a_near_tie_are_the_same() -> None:
    before = answer([-0.1, -0.69, -0.2, -0.1])
    assert same(before, answer([-0.1, -0.70, -3.0, -4.0], "axyz"))
    assert not same(before, answer([-3.1, -0.70, -3.0, -4.0], "xxyz"))
    assert difference(before, answer([-0.1, -0.70, -3.0], "axyz")) == pytest.approx(0.01)
    assert difference(before, answer([], "")) == math.inf


def test_a_hiccup_of_a_very_fast_engine_is_not_slow() -> None:
    assert not slow(0.004, 0.0001)
    assert slow(0.2, 0.02)
    assert not slow(0.09, 0.02)


@pytest.mark.parametrize(("expect", "found"), [("^Ode", True), ("joy$", True), ("^to", False), ("(", False)])
def test_expectations_are_searched(expect: str, found: bool) -> None:
    assert meets("Ode to joy", expect) is found


GOOD = [
    "Subject: Say hello to a teapot! ✨\n\nHey sunshine,\n\nGrab yours now!\n\nBig smiles,\nJuno from Sunny Side",
    "So, folks, I bought a bicycle to save time. Now I have no time left, and no money. Am I right, folks?",
    "Ha ha ha ha! Hahahaha.",
    "No.",
    "42",
    "お茶は体に良い飲み物です。毎日飲むと心が落ち着きます。",
    "| a | b |\n| --- | --- |\n| 1 | 2 |\n| 3 | 4 |\n\nThe table shows what each of them costs today.",
    "def f(x):\n\treturn x + 1\n",
    "👩‍👩‍👧 family time! 🎉",
]
BAD = [
    ("  \n", "answers nothing"),
    ("a" * 50, "repeats itself"),
    ("hahaha" * 20, "repeats itself"),
    ("so good " * 30, "repeats itself"),
    ("The lamp shines. " * 12, "repeats itself"),
    ("Once upon a time there was " + "x" * 200, "repeats itself"),
    ("お茶" * 40, "repeats itself"),
    (
        "one two three. " + "And so on and on it goes, round and round and round the mulberry bush. " * 9,
        "repeats itself",
    ),
    ("Furr\ufffd\ufffdck\ufffd and \ufffd so", "broken or control characters"),
    ("\x00" * 8, "broken or control characters"),
    ("Sure.<|im_end|>", "marks of a chat template"),
    ("### Instruction: write", "marks of a chat template"),
    ("Write about a LAMP.", "repeats the prompt"),
    ("Write about a lamp. Write about a lamp. Write about a lamp.", "repeats the prompt"),
]


@pytest.mark.parametrize("text", GOOD)
def test_real_answers_are_not_degenerate(text: str) -> None:
    assert degenerate(text, "Write about a lamp.") == ""


@pytest.mark.parametrize(("text", "says"), BAD)
def test_degenerate_answers_are_known(text: str, says: str) -> None:
    assert says in degenerate(text, "Write about a lamp.")


def test_a_greeting_may_be_answered_with_it() -> None:
    assert degenerate("Hello.", "Hello.") == ""


@given(st.text(), st.text())
def test_any_text_is_judged(text: str, prompt: str) -> None:
    assert isinstance(degenerate(text, prompt), str)


@given(st.text(alphabet=st.characters(categories=["L"]), min_size=1, max_size=30), st.integers(80, 200))
def test_any_loop_is_found(unit: str, times: int) -> None:
    assert degenerate(unit * times) == "it repeats itself"


def recipe_with(folder: Path, golden: str) -> Recipe:
    (folder / "poet").mkdir()
    (folder / "poet" / "recipe.yaml").write_text(f"title: P\nvoice: V\nprompts: [x]\ngolden:\n  - {golden}\n")
    return load_recipe("poet", folder)


@pytest.mark.parametrize(
    "expect", ["^Subject:", "(?mi)^big smiles,$", r"folks\?$", "a.*b.*c", "(?:So|Well), folks", "[(*)+]"]
)
def test_a_recipe_may_expect(tmp_path: Path, expect: str) -> None:
    (golden,) = recipe_with(tmp_path, json.dumps({"prompt": "p", "expect": expect})).golden
    assert card_of(load_recipe("poet", tmp_path))["golden"] == [{"prompt": "p", "expect": golden.expect}]


@pytest.mark.parametrize(
    ("golden", "says"),
    [
        ({"prompt": "p", "expect": "("}, "golden.0.expect: .*not a regular expression"),
        ({"prompt": "p", "expect": "(a+)+$"}, "golden.0.expect: .*may search for very long"),
        ({"prompt": "p", "expect": "(a|a){9}"}, "may search for very long"),
        ({"prompt": "p", "expect": "a*b*c*d"}, "may search for very long"),
        ({"prompt": "p", "expect": ""}, "golden.0.expect"),
        ({"prompt": "p", "expect": "x" * 201}, "golden.0.expect"),
        ({"prompt": "p"}, "missing key 'golden.0.expect'"),
        ({"prompt": "p", "expects": "x", "expect": "x"}, "unknown key 'golden.0.expects'; did you mean 'expect'"),
    ],
)
def test_a_recipe_may_not_expect(tmp_path: Path, golden: dict, says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        recipe_with(tmp_path, json.dumps(golden))
