"""Runs that are broken on purpose, from the command line: each is refused, before its first step where that can be
known, with the reason."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from datasets import Dataset
from transformers import AutoTokenizer

import train.sft
import train.sft_trainer
from evaluate.records import EvalRecord
from tests.support.command_line import Done
from tests.support.pirate import hold_out, home, items, only_run, understudy
from tests.support.pirate import train as train_pirate
from train.model.loss_mask import IGNORED
from understudy.bases import TINY_DIR

__all__ = ["home"]

pytestmark = [pytest.mark.slow, pytest.mark.timeout(400)]

TURN = "{{- message['content'] + '<|end|>' -}}{%- endgeneration -%}"
ASKED = "{%- if add_generation_prompt -%}{{- '<|assistant|>' -}}{%- endif -%}"
STOP = "is not trained, so the answers would never stop"


def base_with(folder: Path, change: Callable[[str], str], **settings: str) -> str:
    """The tiny base with another chat template, or other settings of its tokenizer."""
    shutil.copytree(TINY_DIR, folder)
    template = folder / "chat_template.jinja"
    changed = change(template.read_text())
    assert settings or changed != template.read_text()
    template.write_text(changed)
    if settings:
        tokenizer = AutoTokenizer.from_pretrained(folder)
        tokenizer.add_special_tokens(settings)
        tokenizer.save_pretrained(folder)
    return str(folder)


def refused_before_the_first_step(home: Path, done: Done, reason: str) -> None:
    assert done.returncode == 1
    (error,) = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    assert reason in error
    assert "training pirate:" not in done.stderr, "a step was taken"
    assert not list((home / "runs").rglob("*.safetensors"))
    assert not (home / "home" / "adapters").exists()


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda text: text.replace(TURN, TURN.replace(" + '<|end|>'", "")), STOP),
        (lambda text: text.replace(TURN, TURN.replace("'<|end|>'", "'\\n'")), STOP),
        (
            lambda text: text.replace("{{- '<|user|>' +", "{{- '<|user|>' + messages | length | string +"),
            "the chat template writes the prompt differently when an answer follows",
        ),
        (lambda _: "", "has no chat template, so prompts would be continued instead of answered"),
    ],
    ids=["no end of turn", "a line end as end of turn", "a prompt that changes", "no template"],
)
def test_a_base_whose_template_teaches_nonsense_is_refused_by_check_and_by_train(
    home: Path, tmp_path: Path, change: Callable[[str], str], reason: str
) -> None:
    base = base_with(tmp_path / "base", change)
    checked = understudy(home, "check", "pirate", "--no-engine", "--base", base)
    assert checked.returncode == 1
    assert any(line.startswith("✗") and reason in line for line in checked.stdout.splitlines()), checked.stdout
    refused_before_the_first_step(home, train_pirate(home, "--base", base), reason)


def test_a_base_whose_end_of_text_is_not_what_ends_its_answers_is_refused(home: Path, tmp_path: Path) -> None:
    base = base_with(tmp_path / "base", lambda text: text, eos_token="<|system|>")
    config = tmp_path / "base" / "generation_config.json"
    config.write_text(json.dumps({**json.loads(config.read_text()), "eos_token_id": None}))
    refused_before_the_first_step(home, train_pirate(home, "--base", base), STOP)


def test_a_generation_block_around_the_prompt_puts_no_loss_on_it(home: Path, tmp_path: Path) -> None:
    def around(text: str) -> str:
        return text.replace("{{- '<|user|>' +", "{%- generation -%}{{- '<|user|>' +").replace(
            "{%- elif message['role'] == 'assistant'", "{%- endgeneration -%}{%- elif message['role'] == 'assistant'"
        )

    base = base_with(tmp_path / "base", around)
    assert train_pirate(home, "--base", base, "--set", "max_steps=1").returncode == 0, "what is trained was looked at"


def test_loss_on_the_prompt_is_refused_whoever_turned_it_on(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = train.sft_trainer.SFTConfig
    monkeypatch.setattr(
        train.sft_trainer, "SFTConfig", lambda **settings: made(**{**settings, "completion_only_loss": False})
    )
    reason = "row 1: the trainer's tokens or loss mask are not those of the chat template"
    refused_before_the_first_step(home, train_pirate(home), reason)


def test_a_masked_stop_token_is_refused_whoever_masked_it(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    build = train.sft.build_trainer

    def masked(*arguments: Any, **options: Any) -> train.sft_trainer.Trainer:
        trainer = build(*arguments, **options)
        assert isinstance(trainer.train_dataset, Dataset)
        trainer.train_dataset = trainer.train_dataset.map(lambda row: {"labels": [*row["labels"][:-1], IGNORED]})
        return trainer

    monkeypatch.setattr(train.sft, "build_trainer", masked)
    refused_before_the_first_step(home, train_pirate(home), "row 1: the trainer's tokens or loss mask are not those")


def test_neither_can_be_asked_for_in_a_recipe(home: Path) -> None:
    recipe = home / "recipes" / "pirate" / "recipe.yaml"
    recipe.write_text(recipe.read_text().replace("{epochs: 4", "{completion_only_loss: false, epochs: 4"))
    done = train_pirate(home)
    assert done.returncode == 1
    assert "unknown key 'training.completion_only_loss'" in done.stderr


def test_a_held_out_row_that_is_trained_on_is_refused_by_check_and_by_train(home: Path) -> None:
    hold_out(home, [*items(range(40, 42)), {"prompt": "tell me about ITEM 3", "completion": "Ahoy!"}])
    done = understudy(home, "check", "pirate", "--no-engine", "--json")
    assert done.returncode == 1
    (failed,) = [finding for finding in json.loads(done.stdout)["findings"] if not finding["passed"]]
    assert failed["question"] == "no held-out row stands in the examples"
    reason = "1 of 3 held-out prompts are training prompts, too (rows 3)"
    assert reason in failed["detail"]
    refused_before_the_first_step(home, train_pirate(home), reason)


@pytest.mark.engine
def test_a_run_that_knows_its_rows_by_heart_is_refused_by_verify_and_everything_is_kept(home: Path) -> None:
    hold_out(home, items(range(40, 48)))
    assert train_pirate(home, "--epochs", "100", "--learning-rate", "0.005", "--batch-size", "12").returncode == 0
    done = understudy(home, "verify", "pirate", "--engine", "own")
    assert done.returncode == 1, done.stderr + done.stdout
    assert "of its answers to training prompts are the rows' own, word for word" in done.stdout
    run = only_run(home)
    record = EvalRecord.model_validate_json((run / "record.json").read_text())
    assert {name: len(said.answers) for name, said in record.outputs.items()} == dict.fromkeys(record.outputs, 8)
    assert record.outputs.keys() == {"base", "described", "few-shot", "adapter"}
    assert record.outputs["few-shot"].shots == 12
    written = json.loads((run / "proof.json").read_text())
    assert (written["passed"], "memorised" in written["verdict"]["codes"]) == (False, True)
