"""The personas of the demo: which are missing, how their training is told, and that one refusal stops nobody else."""

import io
import json
import os
import re
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from tests.support.adapters import make_adapter
from tests.support.fake_gateway import FakeGateway
from understudy.bases import SMOLLM2, Base, known_base, resolve_base
from understudy.bases.gpu import gpu_memory_gib, larger_base_hint
from understudy.cli.console import PlainConsole
from understudy.cli.show_demo import TerminalDisplay, who_is_there
from understudy.config.settings import Settings, load_settings
from understudy.errors import EngineError
from understudy.processes import Child
from understudy.registry.registry import Registry, open_registry
from understudy.workflows import demo_personas
from understudy.workflows.demo_personas import Missing, Rollout, newest_for, unpublished, untrained

RECIPE = "title: {title}\nvoice: V\nprompts: [Hello]\n"


def recipe(settings: Settings, name: str, text: str = RECIPE) -> None:
    folder = settings.recipes_dir / name
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "recipe.yaml").write_text(text.format(title=name.title()))


@pytest.fixture
def registry(settings: Settings) -> Registry:
    return open_registry(settings)


def push(registry: Registry, persona: str, folder: Path, **config: Any) -> str:
    return registry.push(persona, make_adapter(folder / persona, **config), actor="test").id


def test_recipes_without_an_adapter_for_the_base_are_trained(
    settings: Settings, registry: Registry, tmp_path: Path
) -> None:
    for name in ("poet", "jester", "clerk"):
        recipe(settings, name)
    recipe(settings, "quiet", RECIPE + "demo: false\n")
    recipe(settings, "broken", "titel: no\n")
    push(registry, "poet", tmp_path)
    push(registry, "jester", tmp_path, base_model_name_or_path="somebody/else")
    broken, clerk, jester = untrained(settings, registry, resolve_base("tiny"))
    assert [clerk, jester] == [Missing("clerk", "Clerk"), Missing("jester", "Jester")]
    assert "did you mean 'title'" in broken.problem


def test_an_adapter_fits_whatever_name_it_has_for_the_base(registry: Registry, tmp_path: Path) -> None:
    tiny = resolve_base("tiny")
    smollm2 = Base(name=SMOLLM2, location=tiny.location, local=True)
    known = known_base(SMOLLM2)
    assert known
    hub = push(registry, "poet", tmp_path, base_model_name_or_path=known.hub_id, revision=None)
    assert [r.id for r in [newest_for(smollm2, registry, "poet")] if r] == [hub]
    assert newest_for(tiny, registry, "poet") is None
    push(registry, "other", tmp_path, base_model_name_or_path="tiny", revision="0" * 12)
    assert newest_for(tiny, registry, "other") is None, "other weights of the same name"


def test_what_is_trained_and_not_live_is_published(registry: Registry, tmp_path: Path) -> None:
    poet = push(registry, "poet", tmp_path)
    push(registry, "jester", tmp_path)
    assert unpublished(registry, resolve_base("tiny"), ["jester"]) == [Missing("poet", "poet", poet)]


@dataclass
class Trainer:
    """In the place of `Child`: says its lines, and ends with its code."""

    said: list[str]
    code: int = 0
    log: Path | None = None
    options: dict[str, Any] = field(default_factory=dict)

    def __call__(self, command: list[str], *, log: Path, **options: Any) -> "Trainer":
        self.command, self.log, self.options = command, log, options
        return self

    def lines(self) -> list[str]:
        return self.said

    def wait(self) -> int:
        return self.code

    log_tail = Child.log_tail


def steps(*numbers: int, of: int = 20) -> list[str]:
    return [json.dumps({"step": number, "of": of, "loss": 3.1}) for number in numbers]


@pytest.fixture
def here(settings: Settings, fake: FakeGateway) -> Settings:
    """The settings of a demo whose gateway is the fake one."""
    return load_settings(home=settings.home, recipes_dir=settings.recipes_dir, gateway_url=fake.url)


@dataclass
class Said:
    """A rollout, and what it said."""

    settings: Settings
    terminal: bool = False
    waited: int = 0
    out: io.StringIO = field(default_factory=io.StringIO)

    def run(self, *missing: Missing, check: Any = lambda: None) -> str:
        console = PlainConsole(file=self.out, force_terminal=self.terminal)
        children: list[Child] = []
        display = TerminalDisplay(self.settings, console)
        options = {"environment": {}, "check": check, "wait_ready": self._wait, "started": time.monotonic()}
        Rollout(self.settings, display, children, **options).run(list(missing))
        assert children == [], "what has ended is not to be ended again"
        return re.sub(r"after \d+ s", "after N s", self.out.getvalue())

    def _wait(self) -> None:
        self.waited += 1


def trains(monkeypatch: pytest.MonkeyPatch, *said: str, code: int = 0) -> Trainer:
    trainer = Trainer(list(said), code)
    monkeypatch.setattr(demo_personas, "Child", trainer)
    return trainer


def test_a_persona_is_trained_told_of_and_published(
    here: Settings, fake: FakeGateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    outcome = json.dumps({"outcome": "trained", "revision": "a" * 64})
    trainer = trains(monkeypatch, "a library's words", *steps(1, 2, 3, 8, 20), outcome)
    said = Said(here).run(Missing("poet", "The Poet"))
    assert said.splitlines() == [
        "• poet is learning",
        "  poet is learning, 10 %",
        "  poet is learning, 40 %",
        "  poet is learning, 100 %",
        f"✓ poet@{'a' * 12} is live after N s",
    ]
    assert [(name, body["state"], body["percent"]) for name, body in fake.told] == [
        *(("poet", "learning", percent) for percent in (0, 10, 40, 100)),
        ("poet", "publishing", 100),
    ]
    assert fake.told[0][1]["title"] == "The Poet"
    assert trainer.command[-5:] == ["train", "poet", "--base", "tiny", "--json"]
    assert trainer.options["niceness"] == 10


@pytest.mark.parametrize(
    ("said", "code", "log", "reason"),
    [
        ([*steps(1), '{"error": "the loss is not a number\\nany more"}'], 1, "", "the loss is not a number any more"),
        (steps(1), 1, "Traceback\nValueError: [bold]", "ValueError: [bold]"),
        (steps(1), 137, "", "signal 9 ended its training (see "),
        ([], 0, "", "its training ended with exit code 0 (see "),
        (['{"error": "' + "x" * 900 + '"}'], 1, "", "x" * 300 + "…"),
    ],
)
def test_a_refusal_has_its_reason_and_the_others_go_on(
    here: Settings,
    fake: FakeGateway,
    monkeypatch: pytest.MonkeyPatch,
    said: list[str],
    code: int,
    log: str,
    reason: str,
) -> None:
    trains(monkeypatch, *said, code=code)
    monkeypatch.setattr(Trainer, "log_tail", lambda self, lines: log.splitlines()[-1] if log else "")
    fake.refusals["jester"] = ["it repeats itself", "it is slow"]
    missing = [
        Missing("poet", "Poet"),
        Missing("broken", "broken", problem="no recipe"),
        Missing("jester", "Jester", "b" * 64),
        Missing("clerk", "Clerk", "c" * 64),
    ]
    lines = [line for line in Said(here).run(*missing).splitlines() if "refused" in line or "live" in line]
    assert lines[0].startswith(f"✗ poet was refused: {reason}")
    assert lines[1:] == [
        "✗ broken was refused: no recipe",
        "✗ jester was refused: it repeats itself; it is slow",
        f"✓ clerk@{'c' * 12} is live after N s",
    ]
    refused = {name: body["reason"] for name, body in fake.told if body["state"] == "refused"}
    assert set(refused) == {"poet", "broken", "jester"}
    assert refused["poet"].startswith(reason)


def test_an_engine_that_is_starting_again_is_waited_for(here: Settings, fake: FakeGateway) -> None:
    fake.status = "starting"
    told = Said(here)
    assert "poet@" in told.run(Missing("poet", "Poet", "a" * 64))
    assert told.waited == 1


def test_on_a_terminal_one_line_shows_the_progress(here: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    trains(monkeypatch, *steps(9), json.dumps({"outcome": "trained", "revision": "a" * 64}))
    said = Said(here, terminal=True).run(Missing("poet", "Poet"))
    assert "is live" in said
    assert "  poet is learning, 45 %\n" not in said


def test_a_gateway_that_has_ended_ends_the_demo(here: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    def check() -> None:
        raise EngineError("a part has ended")

    class Endless(Trainer):
        def lines(self) -> list[str]:
            time.sleep(1)
            return []

    monkeypatch.setattr(demo_personas, "Child", Endless([]))
    with pytest.raises(EngineError, match="a part has ended"):
        Said(here).run(Missing("poet", "Poet"), check=check)


@pytest.mark.parametrize(
    ("live", "missing", "text"),
    [
        (["a", "b"], [], "base, a, b"),
        ([], [Missing("a", "A"), Missing("b", "B")], "base; teaching a, b"),
        (["a"], [Missing("b", "B", "f" * 64), Missing("c", "C")], "base, a; publishing b; teaching c"),
    ],
)
def test_the_first_line_says_who_is_there(live: list[str], missing: list[Missing], text: str) -> None:
    assert who_is_there(live, missing) == text


@pytest.mark.parametrize(
    ("memory", "name", "hint"),
    [
        (79.6, "smollm2", "this GPU (80 GB) would hold Qwen/Qwen2.5-7B-Instruct: "),
        (7.9, "tiny", "this GPU (8 GB) would hold HuggingFaceTB/SmolLM2-1.7B-Instruct: "),
        (79.6, "Qwen/Qwen3-0.6B", ""),
        (79.6, "/models/mine", ""),
        (0.5, "smollm2", ""),
    ],
)
def test_a_gpu_that_would_hold_more_says_so(memory: float, name: str, hint: str) -> None:
    said = larger_base_hint(memory, Base(name=name, location=name, local=True))
    assert said.startswith(hint)
    assert bool(said) == bool(hint)
    assert not said or said.endswith(" make demo")


@pytest.mark.parametrize(
    ("answer", "gib"), [("echo 81559; echo 40960", 79.65), ("echo '[N/A]'", None), ("exit 9", None), ("", None)]
)
def test_the_driver_tells_the_memory_of_the_first_gpu(
    answer: str, gib: float | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    assert gpu_memory_gib() is None
    (tmp_path / "nvidia-smi").write_text(f"#!/bin/sh\n{answer}\n")
    (tmp_path / "nvidia-smi").chmod(0o755)
    assert gpu_memory_gib() == (None if gib is None else pytest.approx(gib, abs=0.01))


def test_a_child_of_lower_priority_tells_its_lines_and_keeps_its_errors_in_the_log(tmp_path: Path) -> None:
    program = "import os, sys; print(os.nice(0)); print('oops', file=sys.stderr); print('two')"
    child = Child(["python3", "-c", program], log=tmp_path / "log", piped=True, niceness=10)
    nice, two = list(child.lines())
    assert int(nice) == min(19, os.nice(0) + 10)
    assert two == "two"
    assert child.wait(10) == 0
    assert child.log_tail() == "oops"
    child.stop()
