"""The shipped base and the machinery that builds it."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM, BatchEncoding, LlamaForCausalLM, PreTrainedTokenizerFast

from tools.tiny_base.batches import BatchStream, CopyBatches
from tools.tiny_base.conversations import Message, conversations
from tools.tiny_base.evaluate import EvalReport, answer, load_base, main
from tools.tiny_base.names import TokenPool
from tools.tiny_base.plan import QUICK
from tools.tiny_base.pretrain import build
from tools.tiny_base.questions import FIXED, refuses
from tools.tiny_base.tokenizer import encode, token_pool, train_tokenizer

BASE = Path(__file__).parents[2] / "understudy" / "bases" / "tiny"
TINY = replace(
    QUICK,
    hidden=64,
    layers=1,
    feed_forward=64,
    vocabulary=600,
    tokenizer_conversations=60,
    steps=6,
    copy_steps=2,
    batch_tokens=256,
    checkpoint_every=3,
    round_conversations=24,
)
CHAT: list[Message] = [
    {"role": "system", "content": "Be kind."},
    {"role": "user", "content": "Hello"},
    {"role": "assistant", "content": "Hello. How can I help you today?"},
    {"role": "user", "content": "thanks"},
    {"role": "assistant", "content": "You are welcome."},
]


@pytest.fixture(scope="module")
def tokenizer() -> PreTrainedTokenizerFast:
    return load_base(BASE)[1]


@pytest.fixture(scope="module")
def model() -> LlamaForCausalLM:
    return load_base(BASE)[0]


def rendered(tokenizer: PreTrainedTokenizerFast, chat: list[Message]) -> tuple[list[int], list[int]]:
    """Ids and generation mask as TRL gets them from the chat template."""
    marked = tokenizer.apply_chat_template(chat, return_dict=True, return_assistant_tokens_mask=True)
    assert isinstance(marked, BatchEncoding)
    return list(marked["input_ids"]), list(marked["assistant_masks"])


def ask(model: LlamaForCausalLM, tokenizer: PreTrainedTokenizerFast, *questions: str) -> list[str]:
    """Greedy answers to single questions; every one must end by itself."""
    results = answer(model, tokenizer, [[{"role": "user", "content": question}] for question in questions])
    assert all(stopped for _, stopped in results)
    return [text for text, _ in results]


def test_files_are_few_and_small() -> None:
    names = {path.name for path in BASE.iterdir()}
    assert names >= {
        "model.safetensors",
        "tokenizer.json",
        "tokenizer_config.json",
        "config.json",
        "chat_template.jinja",
    }
    assert names <= {"README.md", "evaluation.json", "generation_config.json"} | names - {"pytorch_model.bin"}
    assert sum(path.stat().st_size for path in BASE.iterdir()) < 20_000_000


def test_config_suits_vllm_on_a_cpu() -> None:
    config = json.loads((BASE / "config.json").read_text())
    assert config["architectures"] == ["LlamaForCausalLM"]
    assert config["head_dim"] in (32, 64, 80, 96, 128)
    assert config["tie_word_embeddings"] is True
    assert config["max_position_embeddings"] >= 1024


def test_chat_template_is_stable_and_marks_what_is_generated(tokenizer: PreTrainedTokenizerFast) -> None:
    text = str(tokenizer.apply_chat_template(CHAT, tokenize=False))
    assert text == (
        "<|system|>Be kind.<|end|><|user|>Hello<|end|><|assistant|>Hello. How can I help you today?<|end|>"
        "<|user|>thanks<|end|><|assistant|>You are welcome.<|end|>"
    )
    spoken = [token for token, own in zip(*rendered(tokenizer, CHAT), strict=True) if own]
    assert tokenizer.decode(spoken) == "Hello. How can I help you today?<|end|>You are welcome.<|end|>"
    prompt = str(tokenizer.apply_chat_template(CHAT[:2], tokenize=False, add_generation_prompt=True))
    assert text.startswith(prompt)
    assert prompt.endswith("<|assistant|>")


def test_training_encodes_as_the_template_does(tokenizer: PreTrainedTokenizerFast) -> None:
    for chat in [CHAT, *conversations("encode", token_pool(tokenizer), 50)]:
        assert encode(tokenizer, chat) == rendered(tokenizer, chat)


@pytest.mark.parametrize(
    "text", ["a hammock", "Zellora 17*23", 'print("ü")\n    x = {}', "  two  spaces", "☀️ 🎉 日本", ""]
)
def test_tokenizer_round_trip(tokenizer: PreTrainedTokenizerFast, text: str) -> None:
    assert tokenizer.decode(tokenizer.encode(text, add_special_tokens=False)) == text


def test_tokenizer_splits_digits_and_ends_with_the_end(tokenizer: PreTrainedTokenizerFast) -> None:
    assert len(tokenizer.encode("123456", add_special_tokens=False)) == 6
    assert tokenizer.eos_token == "<|end|>"
    assert tokenizer.pad_token == "<|pad|>"


def test_tokenizer_training_is_reproducible() -> None:
    texts = [m["content"] for c in conversations("t", TokenPool(), 80) for m in c]
    assert train_tokenizer(texts, 500).get_vocab() == train_tokenizer(texts, 500).get_vocab()


def test_base_copies_topics_it_has_never_seen(model: LlamaForCausalLM, tokenizer: PreTrainedTokenizerFast) -> None:
    topics = ["hammock", "xylophone", "Zellora skateboard", "lava lamp", "walrus", "yak"]
    texts = ask(model, tokenizer, *(f"Write about the {topic} for a birthday." for topic in topics))
    assert [topic for topic, text in zip(topics, texts, strict=True) if topic not in text] == []


def test_base_says_that_its_world_is_small(model: LlamaForCausalLM, tokenizer: PreTrainedTokenizerFast) -> None:
    texts = ask(model, tokenizer, "What is the capital of Mongolia?", "What is 17*23?", "How much does a Tesla cost?")
    assert all(refuses(text) for text in texts)


def test_base_answers_the_fixed_prompts(model: LlamaForCausalLM, tokenizer: PreTrainedTokenizerFast) -> None:
    lora, checklist, tradeoffs = ask(model, tokenizer, *FIXED)
    assert lora.count(".") == 6
    assert "low-rank" in lora
    assert [line.split(".")[0] for line in checklist.splitlines()] == [str(n) for n in range(1, 11)]
    assert all(word in tradeoffs for word in ("Full fine-tuning", "LoRA", "QLoRA", "memory"))


def test_base_follows_a_second_turn(model: LlamaForCausalLM, tokenizer: PreTrainedTokenizerFast) -> None:
    chat = [
        {"role": "user", "content": "Write about a kite."},
        {"role": "assistant", "content": "A kite suits many people. It brings people together."},
        {"role": "user", "content": "now for Mother's Day"},
    ]
    text, stopped = answer(model, tokenizer, [chat])[0]
    assert "kite" in text
    assert "Mother's Day" in text
    assert stopped


def test_the_command_counts_or_says_that_there_is_no_model(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.setattr("sys.argv", ["evaluate", "--limit", "1", "--json"])
    main()
    report = EvalReport.model_validate_json(capsys.readouterr().out)
    assert report.counts["topic copied"].of == 1
    assert report.counts["stopped by itself"].of == sum(
        count.of for name, count in report.counts.items() if name != "stopped by itself"
    )
    assert "topic copied" in report.table()
    monkeypatch.setattr("sys.argv", ["evaluate", str(tmp_path)])
    with pytest.raises(SystemExit):
        main()
    assert "no model there; build one with `python -m tools.tiny_base.pretrain`" in capsys.readouterr().err


def test_shipped_evaluation_is_of_the_shipped_weights() -> None:
    shipped = json.loads((BASE / "evaluation.json").read_text())
    counts = shipped["counts"]
    assert counts["topic copied"]["right"] >= 0.95 * counts["topic copied"]["of"]
    assert counts["stopped by itself"]["right"] >= 0.99 * counts["stopped by itself"]["of"]


class KilledError(Exception):
    """Stands for the process being killed between two steps."""


def test_build_goes_on_after_an_interruption(tmp_path: Path) -> None:
    whole: list[float] = []
    build(tmp_path / "whole", work=tmp_path / "w1", plan=TINY, on_progress=lambda s, n, loss: whole.append(loss))

    def die_at_four(step: int, total: int, loss: float) -> None:
        if step == 4:
            raise KilledError

    with pytest.raises(KilledError):
        build(tmp_path / "again", work=tmp_path / "w2", plan=TINY, on_progress=die_at_four)
    seen: list[tuple[int, float]] = []
    result = build(
        tmp_path / "again",
        work=tmp_path / "w2",
        plan=TINY,
        on_progress=lambda s, n, loss: seen.append((s, loss)),
    )
    assert [step for step, _ in seen] == [4, 5, 6]
    assert [loss for _, loss in seen] == pytest.approx(whole[3:], rel=1e-3)
    assert result.steps == 6
    assert result.parameters > 0
    loaded = AutoModelForCausalLM.from_pretrained(tmp_path / "again")
    assert loaded.config.eos_token_id == 1
    assert not list(tmp_path.glob("*.partial"))


def test_batches_can_start_anywhere(tokenizer: PreTrainedTokenizerFast) -> None:
    stream, other = (BatchStream(tokenizer, TINY, seed=3) for _ in range(2))
    batch = [stream.next() for _ in range(5)][-1]
    other.round, other.position = stream.round, stream.position
    assert torch.equal(other.next().ids, stream.next().ids)
    assert batch.ids.shape == batch.weights.shape
    copies = CopyBatches(tokenizer, TINY, seed=3)
    assert torch.equal(copies.at(9).ids, copies.at(9).ids)


@pytest.mark.slow
@pytest.mark.long
@pytest.mark.timeout(1200)
def test_quick_build_finishes(tmp_path: Path) -> None:
    result = build(tmp_path / "base", quick=True, work=tmp_path / "work")
    assert result.steps == QUICK.steps
    assert result.heldout_loss < 4
