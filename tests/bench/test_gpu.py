"""What a GPU would be measured with: its random base ends its answers, what is missing is said, and figures add up."""

from pathlib import Path
from typing import Any

import pytest

from bench.gpu import training, wheels
from bench.gpu.__main__ import per_slot
from bench.gpu.base import random_base
from bench.gpu.plan import LLAMA_8B, on_gpu, rehearsal, shape_of_smollm2
from bench.gpu.serving import goals, loaded_gib
from bench.serving.peers.matrix import Sample
from bench.serving.peers.servers import OURS
from bench.training.trainers.ways import OURS as OUR_TRAINER
from bench.training.trainers.ways import TUNED
from serve.engine.vllm import vllm_on_cpu

SMALL = {
    "hidden_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "num_key_value_heads": 1,
    "head_dim": 32,
    "intermediate_size": 128,
    "vocab_size": 50000,
}


@pytest.mark.slow
def test_the_answers_of_the_random_base_are_words_and_end(tmp_path: Path) -> None:
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    base = random_base(tmp_path / "base", SMALL, "cpu")
    tokenizer = AutoTokenizer.from_pretrained(base.location)
    model: Any = AutoModelForCausalLM.from_pretrained(base.location)
    chat = [{"role": "user", "content": "Write about a lamp."}]
    asked = tokenizer.apply_chat_template(chat, add_generation_prompt=True, return_tensors="pt", return_dict=True)
    torch.manual_seed(0)
    said = model.generate(**asked, do_sample=True, max_new_tokens=256, num_return_sequences=24)
    answers = said[:, asked["input_ids"].shape[1] :]
    lengths = [int((row == tokenizer.eos_token_id).nonzero()[0]) for row in answers if tokenizer.eos_token_id in row]
    assert len(lengths) >= 22
    assert 5 < sum(lengths) / len(lengths) < 80
    assert all(tokenizer.decode(row, skip_special_tokens=True).isascii() for row in answers)


def test_the_shapes_are_those_of_the_models_they_are_named_for() -> None:
    weights = LLAMA_8B["vocab_size"] * LLAMA_8B["hidden_size"]
    assert 1.0e9 < 2 * weights < 1.1e9  # embeddings and head of 8B
    shape = shape_of_smollm2()
    assert (shape["hidden_size"], shape["num_hidden_layers"], shape["vocab_size"]) == (576, 30, 49152)


def test_a_rehearsal_measures_less_of_the_same() -> None:
    plan, small = on_gpu(), rehearsal()
    assert plan.adapters == (0, 1, 8, 100)
    assert plan.people == (1, 32, 128)
    assert len(small.adapters) == len(plan.adapters)
    assert max(small.adapters) < max(plan.adapters)


def test_what_is_missing_or_of_another_version_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wheels, "PROJECT", tmp_path)
    (tmp_path / "requirements").mkdir()
    file = tmp_path / "requirements" / "cpu.txt"
    file.write_text("# made by\npytest==0.0.1\nno-such-package==1.0 ; python_version > '3'\ntorch==0.1+cpu\n")
    assert wheels.pins(file) == {"pytest": "0.0.1", "no-such-package": "1.0", "torch": "0.1+cpu"}
    absent, other = wheels.missing("cpu")
    assert absent == "no-such-package==1.0 is not installed"
    assert other.startswith("torch==0.1+cpu is wanted, ")
    with pytest.raises(SystemExit, match="2 packages are missing; run VARIANT=cpu"):
        wheels.require("cpu")


def test_everything_is_installed_here() -> None:
    wheels.require("cpu" if vllm_on_cpu() else "gpu")


def test_the_memory_of_a_slot_is_the_difference_of_two_engines() -> None:
    log = "INFO gpu_model_runner.py:5150] Model loading took 15.25 GiB memory and 12.300000 seconds\n"
    assert loaded_gib(log) == 15.25
    assert loaded_gib("INFO cpu_model_runner.py] Starting to load model\n") is None
    found = {"serving": {"many": {"slots": 102, "mib": 24_016.0}}, "few slots": {"slots": 8, "mib": 16_496.0}}
    assert per_slot(found) == 80.0
    assert per_slot({"serving": None, "few slots": found["few slots"]}) is None


def test_mixes_are_compared_with_the_base_and_with_fewer_adapters() -> None:
    speeds = {0: 1000.0, 1: 960.0, 8: 890.0, 100: 850.0}
    samples = [
        Sample(OURS, (adapters, people), 0, speed) for adapters, speed in speeds.items() for people in on_gpu().people
    ]
    found = {goal.what: goal.verdict for goal in goals(on_gpu(), samples)}
    assert len(found) == 9
    assert found["one adapter of the base, 128 at once"] == "met"
    assert found["8 mixed of the base, 1 at once"] == "missed"
    assert found["100 mixed of 8, 32 at once"] == "met"


def test_trainers_are_compared_and_one_that_fails_is_not() -> None:
    ours = {"way": OUR_TRAINER, "tokens_per_second": 900.0, "peak_memory_mib": 10_000.0}
    tuned = {"way": TUNED, "tokens_per_second": 1000.0, "peak_memory_mib": 12_000.0}
    assert [goal.verdict for goal in training.goals([ours, tuned])] == ["missed", "met"]
    assert [goal.verdict for goal in training.goals([ours, {"way": TUNED, "reason": "no room"}])] == [
        "not measured"
    ] * 2
