"""`understudy check` and `understudy verify` for real, on the embedded base: what is not good is named."""

import json
from pathlib import Path

import pytest

from tests.pirate import home, only_run, train, understudy
from understudy.proof import Testimony as Observed

__all__ = ["home"]

pytestmark = [pytest.mark.slow, pytest.mark.timeout(400)]


def hold_out(home: Path, rows: list[dict[str, str]]) -> None:
    file = home / "recipes" / "pirate" / "heldout.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))


def items(numbers: range) -> list[dict[str, str]]:
    return [{"prompt": f"Tell me about item {n}.", "completion": f"Ahoy! Item {n} it be."} for n in numbers]


def test_a_recipe_that_knows_its_rows_by_heart_is_refused_and_everything_is_kept(home: Path) -> None:
    hold_out(home, items(range(40, 48)))
    assert train(home, "--epochs", "60", "--learning-rate", "0.005").returncode == 0
    done = understudy(home, "verify", "pirate")
    assert done.returncode == 1, done.stderr + done.stdout
    assert "of its answers to training prompts are the rows' own, word for word" in done.stdout
    run = only_run(home)
    observed = Observed.model_validate_json((run / "testimony.json").read_text())
    assert len(observed.heard["adapter"].answers) == 8
    assert observed.heard["few-shot"].shots == 12
    again = understudy(home, "verify", "pirate", "--json", "--adapter", str(run / "adapter"))
    pack = json.loads(again.stdout)
    assert pack["passed"] is False
    assert pack["reasons"] == json.loads((run / "proof.json").read_text())["reasons"]


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
    pack = json.loads(understudy(home, "verify", "pirate", "--json").stdout)
    losses = {name: found["loss"]["value"] for name, found in pack["contestants"].items()}
    assert losses["adapter"] != losses["base"]
    assert pack["parity"] is None


def test_a_held_out_row_that_is_trained_on_is_refused_by_check_and_by_train(home: Path) -> None:
    hold_out(home, [*items(range(40, 42)), {"prompt": "tell me about ITEM 3", "completion": "Ahoy!"}])
    done = understudy(home, "check", "pirate", "--no-engine", "--json")
    assert done.returncode == 1
    (failed,) = [finding for finding in json.loads(done.stdout)["findings"] if not finding["passed"]]
    assert failed["question"] == "no held-out row stands in the examples"
    assert "1 of 3 held-out prompts are training prompts, too (rows 3)" in failed["detail"]
    refused = train(home)
    assert refused.returncode == 1
    assert "1 of 3 held-out prompts are training prompts, too" in refused.stderr


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
