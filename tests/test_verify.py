"""`understudy check` and `understudy verify` for real, on the tiny base: what is not good is named."""

import json
import shutil
from pathlib import Path

import pytest

from evaluate.verified_runs import load_run
from tests.pirate import hold_out, home, items, only_run, train, understudy
from understudy.adapters import content_revision

__all__ = ["home"]

pytestmark = [pytest.mark.slow, pytest.mark.timeout(400)]


def test_without_a_run_or_held_out_rows_verify_says_what_to_do(home: Path) -> None:
    done = understudy(home, "verify", "pirate")
    assert done.returncode == 1
    assert "pirate has no finished run; train one first: understudy train pirate" in done.stderr
    assert train(home, "--set", "max_steps=1").returncode == 0
    done = understudy(home, "verify", "pirate")
    assert done.returncode == 1
    assert "heldout.jsonl: verify needs at least 2 held-out rows" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_full_fine_tune_is_verified_as_a_model_of_its_own(home: Path) -> None:
    hold_out(home, items(range(40, 44)))
    assert train(home, "--method", "full", "--set", "max_steps=2").returncode == 0
    done = understudy(home, "verify", "pirate", "--no-engine")
    assert "full fine-tune" in done.stdout
    assert "adapter" not in done.stdout
    assert "not asked: whether it acts through vLLM (--no-engine)" in done.stdout
    pack = json.loads((only_run(home) / "proof.json").read_text())
    losses = {name: found["loss"]["value"] for name, found in pack["contestants"].items()}
    assert losses["adapter"] != losses["base"]
    assert (pack["parity"], pack["method"], pack["served"]) == (None, "full", None)


def test_the_proof_of_somebody_elses_adapter_is_not_written_beside_it(home: Path, tmp_path: Path) -> None:
    hold_out(home, items(range(40, 44)))
    assert train(home, "--set", "max_steps=1").returncode == 0
    theirs = tmp_path / "downloads" / "adapter"
    shutil.copytree(only_run(home) / "adapter", theirs)
    done = understudy(home, "verify", "pirate", "--no-engine", "--adapter", str(theirs))
    assert [path.name for path in theirs.parent.iterdir()] == ["adapter"]
    (place,) = (home / "runs" / "pirate").glob("verified-*")
    assert str(place / "proof.json") in done.stdout
    assert place.name == f"verified-{content_revision(theirs)[:12]}"
    assert load_run(place).facts.method == "qlora"


def test_code_in_answers_is_run_and_judged_where_the_recipe_teaches_code(home: Path) -> None:
    recipe = home / "recipes" / "pirate" / "recipe.yaml"
    recipe.write_text(recipe.read_text() + "proof: {code: {parses: 1.0, runs: 1.0, chrf: 50}}\n")
    rows = [
        {"prompt": "Print 1.", "completion": "So:\n```python\nprint(1)\n```"},
        {"prompt": "Divide by nothing.", "completion": "So:\n```python\n1 / 0\n```"},
        {"prompt": "Say nothing.", "completion": "I would rather not."},
        {"prompt": "Print 2.", "completion": "```python\nprint(2\n```"},
    ]
    hold_out(home, rows)
    assert train(home, "--set", "max_steps=1").returncode == 0
    done = understudy(home, "verify", "pirate", "--no-engine")
    assert done.returncode == 1
    assert "code of the data: 50% (15 to 85) parse, 25% (5 to 70) run" in done.stdout
    assert "of its answers parses, at least 100% must" in done.stdout
    assert "chrF like the data's own, at least 50 is needed" in done.stdout
    code = json.loads((only_run(home) / "proof.json").read_text())["code"]
    assert set(code) == {"base", "few-shot", "adapter", "data"}


@pytest.mark.engine
@pytest.mark.parametrize("method", ["qlora", "full"])
def test_vllm_says_what_transformers_says_and_not_what_the_base_says(home: Path, method: str) -> None:
    hold_out(home, items(range(40, 48)))
    options = ("--method", method, "--epochs", "8") if method == "qlora" else ("--method", method, "--epochs", "3")
    assert train(home, *options).returncode == 0
    done = understudy(home, "verify", "pirate")
    assert "through vLLM: " in done.stdout, done.stderr + done.stdout
    pack = json.loads((only_run(home) / "proof.json").read_text())
    served = pack["served"]
    assert served["problem"] == ""
    assert served["acts"]["value"] >= 0.5
    assert served["same_tokens"] > 0.9
    assert served["same_answers"]["n"] == 8


@pytest.mark.engine
def test_check_shows_the_loss_mask_and_asks_a_real_engine(home: Path) -> None:
    hold_out(home, items(range(40, 42)))
    done = understudy(home, "check", "pirate", "--rows", "2")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "row 2 <|user|>Tell me about item 1.<|end|><|assistant|>Ahoy! Item 1 it be.<|end|>" in done.stdout
    assert "✓ the engine sees the prompts that training sees: 8 prompts" in done.stdout
    assert "✓ the engine takes the planned adapter: maximum rank 64" in done.stdout


def test_check_fails_closed_when_rows_are_too_long(home: Path) -> None:
    done = understudy(home, "check", "pirate", "--no-engine", "--set", "max_length=16")
    assert done.returncode == 1
    assert "✗ every row fits into max_length" in done.stdout
