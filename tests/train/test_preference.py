"""Learning from preferences for real, on the tiny base: what it starts from, what it is held to, what it leaves."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from bench.gateway import open_stage
from bench.training.circle import turn
from tests.support.command_line import Done
from tests.support.pirate import EACH_STEP, RECIPE, ROWS, places, understudy
from understudy.config.settings import PROJECT, load_settings
from understudy.registry.adapters import CONFIG, WEIGHTS, content_revision
from understudy.registry.registry import Registry, open_registry

pytestmark = pytest.mark.slow

PAIRS = [
    {
        "prompt": f"Tell me about thing {n}.",
        "chosen": f"Ahoy! Thing {n} it be.",
        "rejected": f"Ahoy! Thing {n} it be, and it be good.",
    }
    for n in range(24)
]


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home whose persona `pirate` has been trained and is live."""
    home = tmp_path_factory.mktemp("pirate")
    recipe = home / "recipes" / "pirate"
    recipe.mkdir(parents=True)
    (recipe / "recipe.yaml").write_text(RECIPE)
    (recipe / "examples.jsonl").write_text("".join(json.dumps(row) + "\n" for row in ROWS))
    done = understudy(home, "train", "pirate", "--base", "tiny")
    assert done.returncode == 0, done.stderr
    registry = registry_of(home)
    registry.set_live(registry.revision("pirate"), actor="test", action="publish", detail={})
    return home


@pytest.fixture
def home(trained: Path, tmp_path: Path) -> Path:
    """A copy of it, and a file of pairs."""
    home = tmp_path / "copy"
    shutil.copytree(trained, home)
    write(home, PAIRS)
    return home


def write(home: Path, rows: list[dict]) -> None:
    (home / "pairs.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))


def registry_of(home: Path) -> Registry:
    return open_registry(load_settings(home=home / "home"))


def prefer(home: Path, method: str, *options: str) -> Done:
    return understudy(home, "train", "pirate", "--method", method, "--preferences", str(home / "pairs.jsonl"), *options)


def runs(home: Path, product: str = "adapter") -> list[Path]:
    """Folders of the runs on preferences, newest last."""
    found = (home / "runs" / "pirate").glob(f"*/{product}/training.json")
    made = [path.parents[1] for path in found if "preference" in json.loads(path.read_text())]
    return sorted(made, key=lambda run: (run / "result.json").stat().st_mtime)


@pytest.mark.engine
@pytest.mark.long
@pytest.mark.timeout(900)
def test_a_turn_of_the_circle_promotes_what_votes_with_a_taste_taught_and_nothing_for_votes_without(
    tmp_path: Path,
) -> None:
    artifacts = Path(os.environ.get("UNDERSTUDY_ARTIFACTS", PROJECT / "artifacts"))
    artifacts.mkdir(parents=True, exist_ok=True)
    with open_stage(tmp_path) as stage:
        found = turn(stage)
    (artifacts / "circle.json").write_text(json.dumps(found, indent=2))
    collected, idle, keen = found["collected"], found["indifferent"], found["taste_decides"]
    assert collected["votes"] == collected["battles_voted"] >= 120
    assert collected["pairs"] > collected["pairs_heldout"] > 0
    assert found["dpo"]["trained"]["right"] > found["dpo"]["trained"]["of"] / 2
    assert not idle["promoted"]
    assert idle["exit_code"] in (3, 4)
    assert keen["promoted"], keen
    assert (keen["exit_code"], keen["history"]["action"]) == (0, "promote")
    assert keen["history"]["reason"].startswith("better: ")
    assert keen["win_rate"][1] > 0.5, "the confidence sequence excludes indifference"
    assert keen["words"]["new"]["mean"] < keen["words"]["old"]["mean"]
    assert found["live_at_the_end"] == "new"


def test_dpo_continues_the_live_adapter_and_leaves_one_that_can_be_served(home: Path) -> None:
    parent = registry_of(home).revision("pirate")
    done = prefer(home, "dpo", "--set", "max_steps=8")
    assert done.returncode == 0, done.stderr
    assert f"dpo on tiny from {parent.id[:12]}" in done.stderr
    assert "sides with people on" in done.stderr
    (run,) = runs(home)
    adapter, before = run / "adapter", registry_of(home).path(parent)
    new, old = (json.loads((folder / CONFIG).read_text()) for folder in (adapter, before))
    same = ("r", "lora_alpha", "task_type", "base_model_name_or_path", "revision", "modules_to_save", "bias")
    assert {name: new[name] for name in same} == {name: old[name] for name in same}
    assert sorted(new["target_modules"]) == sorted(old["target_modules"])
    assert sorted(path.name for path in adapter.iterdir()) == ["README.md", CONFIG, WEIGHTS, "training.json"]
    settings = json.loads((adapter / "training.json").read_text())
    assert settings["parent"] == parent.id
    assert len(settings["preferences_sha256"]) == 64
    assert settings["preference"]["learning_rate"] == 2e-4
    assert settings["rows"] == 12, "what the parent was taught is not forgotten"
    assert f"continues revision `{parent.id[:12]}` with DPO" in (adapter / "README.md").read_text()
    result = json.loads((run / "result.json").read_text())
    assert result["steps"] == 8
    assert result["trained"]["of"] + result["heldout"]["of"] == 24
    assert result["trained"]["right"] > result["trained"]["of"] / 2
    assert registry_of(home).revision("pirate").id == content_revision(adapter) != parent.id
    assert registry_of(home).persona("pirate").live == parent.id, "nobody is shown anything yet"
    assert "already trained" in prefer(home, "dpo", "--set", "max_steps=8").stderr
    assert understudy(home, "validate", str(adapter), "--base", "tiny").returncode == 0


def test_what_it_is_held_to_is_the_old_persona_and_not_the_bare_base(home: Path) -> None:
    import torch

    from train.model.load import load_tokenizer
    from train.preference.trainers import build, check_reference
    from understudy.bases import resolve_base
    from understudy.config.preference import PreferenceTraining
    from understudy.config.training import Training
    from understudy.data.preferences import read_preferences
    from understudy.errors import TrainingError

    base = resolve_base("tiny")
    registry = registry_of(home)
    parent = registry.path(registry.revision("pirate"))
    for method, base_as in (("dpo", "lora"), ("dpo", "qlora"), ("grpo", "lora")):
        preference = PreferenceTraining(method=method, base_as=base_as).resolved(1e-3, Training())  # pyright: ignore
        rows, tokenizer = read_preferences(home / "pairs.jsonl"), load_tokenizer(base)
        loading = preference.loading(Training())
        judge = None if method == "dpo" else lambda chats: [0.0] * len(chats)
        trainer = build(base, tokenizer, parent, preference, loading, rows, home / "x", judge=judge)
        model = trainer.model
        ids = torch.tensor([tokenizer(PAIRS[0]["chosen"])["input_ids"]])  # pyright: ignore

        def logits(model=model, ids=ids) -> torch.Tensor:
            with torch.no_grad():
                return model.eval()(input_ids=ids).logits  # pyright: ignore

        learning = logits()
        model.set_adapter("ref")  # pyright: ignore
        held_to = logits()
        model.set_adapter("default")  # pyright: ignore
        with model.disable_adapter():  # pyright: ignore
            bare = logits()
        assert torch.allclose(learning, held_to, atol=1e-5)
        assert not torch.allclose(bare, held_to, atol=0.1)
    for name, value in model.named_parameters():  # pyright: ignore
        if ".ref." in name:
            value.data.zero_()
            value.requires_grad_(False)
    with pytest.raises(TrainingError, match="reference is not the adapter it starts from"):
        check_reference(model)  # pyright: ignore


def test_kto_learns_from_single_answers(home: Path) -> None:
    rows = [{"prompt": p["prompt"], "completion": p["chosen"], "label": True} for p in PAIRS]
    rows += [{"prompt": p["prompt"], "completion": p["rejected"], "label": False} for p in PAIRS[:16]]
    write(home, rows)
    done = prefer(home, "kto", "--set", "max_steps=6")
    assert done.returncode == 0, done.stderr
    (run,) = runs(home)
    assert json.loads((run / "result.json").read_text())["steps"] == 6
    assert "found labels" in prefer(home, "dpo").stderr


def test_a_reward_model_is_made_from_the_same_votes_and_judges_but_is_never_served(home: Path) -> None:
    before = registry_of(home).revision("pirate").id
    done = prefer(home, "reward", "--set", "max_steps=12")
    assert done.returncode == 0, done.stderr
    (reward,) = runs(home, "reward")
    assert json.loads((reward / "reward" / CONFIG).read_text())["task_type"] == "SEQ_CLS"
    assert registry_of(home).revision("pirate").id == before
    refused = understudy(home, "validate", str(reward / "reward"), "--base", "tiny")
    assert refused.returncode == 1
    again = ("--set", "max_steps=2", "--set", "answers=4", "--set", "batch_size=2")
    done = prefer(home, "grpo", *again, "--set", f"reward={reward / 'reward'}")
    assert done.returncode == 0, done.stderr
    settings = json.loads((runs(home)[-1] / "settings.json").read_text())
    assert settings["judge"] == str(reward / "reward")
    assert registry_of(home).revision("pirate").id != before
    wrong = prefer(home, "grpo", *again, "--set", f"reward={runs(home)[-1] / 'adapter'}")
    assert "an adapter for CAUSAL_LM, not a reward model" in wrong.stderr


def test_rloo_is_judged_by_a_function_of_ones_own(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (home / "brevity.py").write_text(
        "def reward(prompt: str, answer: str) -> float:\n    return -len(answer.split())\n"
    )
    monkeypatch.syspath_prepend(str(home))
    options = ("--set", "max_steps=2", "--set", "answers=4", "--set", "batch_size=2")
    done = prefer(home, "rloo", *options, "--set", "reward=brevity:reward")
    assert done.returncode == 0, done.stderr
    assert json.loads((runs(home)[-1] / "settings.json").read_text())["judge"] == "brevity:reward"
    assert "use module:function" in prefer(home, "rloo", *options, "--set", "reward=brevity:nothing").stderr


def test_a_killed_run_goes_on_where_it_stopped(home: Path) -> None:
    options = ["--method", "dpo", "--preferences", str(home / "pairs.jsonl"), "--epochs", "6"]
    command = [sys.executable, "-m", "understudy", "train", "pirate", *options]
    process = subprocess.Popen(command, env={**os.environ, **places(home), **EACH_STEP}, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 240
    while not any(  # the run of the parent has checkpoints, too, but no `ref`
        (path.parent / "trainer_state.json").exists() for path in (home / "runs").glob("pirate/*/checkpoints/*/ref")
    ):
        assert process.poll() is None, "it ended before it could be killed"
        assert time.monotonic() < deadline
        time.sleep(0.05)
    process.send_signal(signal.SIGKILL)
    process.wait()
    done = prefer(home, "dpo", "--epochs", "6")
    assert done.returncode == 0, done.stderr
    assert ", went on from step " in done.stderr


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (("--set", "betta=1"), "--set betta: there is no such setting of training; did you mean 'beta'?"),
        (("--rank", "8"), "--set rank: there is no such setting of training"),
        (("--set", "beta=-1"), "--beta: Input should be greater than or equal to 0, found -1"),
        (("--set", "reward=x:y"), "method dpo is not judged by a reward"),
        (("--from", "ffff"), "pirate has no revision ffff"),
        (("--tracker", "tensorboard"), "learning from votes runs here in one process"),
    ],
)
def test_what_cannot_be_followed_is_one_clear_line(home: Path, options: tuple[str, ...], says: str) -> None:
    done = prefer(home, "dpo", *options)
    assert done.returncode == 1
    assert says in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("rows", "says"),
    [
        (PAIRS[:4], "are needed; collect more votes"),
        ([*PAIRS, {"prompt": "x", "chosen": "a", "rejected": "a"}], "row 25: its answer is chosen and rejected"),
        ([{**row, "split": "train"} for row in PAIRS] + [{**PAIRS[0], "split": "heldout"}], "trained on and held out"),
        ([{**row, "split": "train"} for row in PAIRS] + [{**PAIRS[1], "prompt": "Held.", "split": "train"}], "recipe"),
        ([{**row, "chosen": "word " * 2000} for row in PAIRS], "no preference is left to train on"),
    ],
)
def test_rows_that_would_flatter_or_teach_nothing_are_refused(home: Path, rows: list[dict], says: str) -> None:
    held = {"prompt": "held.", "completion": "Ahoy! Held it be."}
    (home / "recipes" / "pirate" / "heldout.jsonl").write_text(json.dumps(held) + "\n")
    write(home, rows)
    done = prefer(home, "dpo")
    assert done.returncode == 1
    assert says in done.stderr


def test_answers_that_were_cut_off_are_not_taught(home: Path) -> None:
    from train.model.load import load_tokenizer, stop_tokens
    from train.preference.dataset import prepare
    from understudy.bases import resolve_base
    from understudy.data.preferences import PreferencePair, PreferenceVote
    from understudy.registry.tables import now

    base = resolve_base("tiny")
    tokenizer = load_tokenizer(base)
    said = len(tokenizer("Ahoy! Thing it be.")["input_ids"])  # pyright: ignore

    def row(limit: int, chosen: str = "Ahoy! Thing it be.") -> PreferencePair:
        votes = (PreferenceVote(battle="b", at=now(), sampling={"max_tokens": limit}),)
        known = {"prompt": "Hi", "chosen": chosen, "rejected": "No.", "split": "train"}
        return PreferencePair.model_validate({**known, "votes": votes})

    ready = prepare([row(said), row(4 * said)], tokenizer, stop_tokens(tokenizer, base), max_length=512)
    assert (len(ready.train), ready.left_out) == (1, {"cut off": 1})


def test_an_adapter_for_another_base_is_not_continued(home: Path) -> None:
    registry = registry_of(home)
    path = registry.path(registry.revision("pirate")) / "training.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "base_revision": "0123456789ab"}))
    done = prefer(home, "dpo")
    assert done.returncode == 1
    assert "was trained on tiny at 0123456789ab, tiny here is at" in done.stderr
