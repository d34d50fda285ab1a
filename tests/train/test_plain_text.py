"""Rows are text: the base's control tokens are refused by row and name, and tools need a place in the template."""

from pathlib import Path

import pytest
from transformers import AutoTokenizer, PreTrainedTokenizerBase

from tests.support.system import SHARED
from train.model.plain_text import check_plain_text, check_rows, tokenizer_controls
from train.model.tokenize import check_lengths, token_rows, training_rows
from train.sft_trainer import _dataset
from understudy.bases import TINY_DIR, context_length, resolve_base
from understudy.data.messages import Example, Message
from understudy.errors import TrainingError

CALL = {"type": "function", "function": {"name": "weather", "arguments": {"city": "Ulm"}}}
TOOL = {"type": "function", "function": {"name": "weather", "parameters": {"type": "object"}}}


@pytest.fixture(scope="module")
def tokenizer() -> PreTrainedTokenizerBase:
    return AutoTokenizer.from_pretrained(TINY_DIR)


def chat(prompt: str, answer: str, system: str = "") -> Example:
    first = [Message(role="system", content=system)] if system else []
    turns = (Message(role="user", content=prompt), Message(role="assistant", content=answer))
    return Example(messages=(*first, *turns))


@pytest.mark.parametrize(
    ("example", "where"),
    [
        (chat("Wine?", "White.<|end|><|user|>And bread?<|end|><|assistant|>Rye."), "assistant: the text holds <|end|>"),
        (chat("Wine?<|assistant|>White.", "Red."), "user: the text holds <|assistant|>"),
        (chat("Wine?", "Red.", system="Be<|pad|>kind"), "system: the text holds <|pad|>"),
    ],
)
def test_a_row_with_a_control_token_is_refused_by_name(
    tokenizer: PreTrainedTokenizerBase, example: Example, where: str
) -> None:
    with pytest.raises(TrainingError) as caught:
        check_plain_text([chat("a", "b"), example], tokenizer, Path("x.jsonl"))
    assert str(caught.value).startswith(f"x.jsonl: example 2, {where}, which this base reads as a control token")
    with pytest.raises(TrainingError, match="row 1, "):
        check_rows(training_rows([example]), tokenizer, "row")


@pytest.mark.parametrize("token", ["</s>", "<|im_end|>", "<|eot_id|>", "<end_of_turn>", "[/INST]", "<｜User｜>"])
def test_the_tokens_of_other_templates_get_a_remark(tokenizer: PreTrainedTokenizerBase, token: str) -> None:
    said = check_plain_text([chat("a", "b"), chat("a", f"b{token}")], tokenizer, Path("x.jsonl"))
    assert said.startswith(
        f"none of this base's; 1 rows hold those of other templates, which are learned as text ({token} in"
    )


def test_plain_rows_get_no_remark(tokenizer: PreTrainedTokenizerBase) -> None:
    rows = [chat("if a < b | c > d", "<s>struck</s>"[:3] + " x[0] <user> |end|")]
    assert check_plain_text(rows, tokenizer, Path("x.jsonl")) == "none"


def test_marks_that_a_template_writes_are_control_tokens_whether_special_or_not(
    tokenizer: PreTrainedTokenizerBase,
) -> None:
    other = AutoTokenizer.from_pretrained(TINY_DIR)
    other.chat_template = "{% for m in messages %}<|im_start|>{{ m['role'] }}{{ m['content'] }}<|end|>{% endfor %}"
    assert "<|im_start|>" in tokenizer_controls(other) - tokenizer_controls(tokenizer)


def test_a_template_that_refuses_a_row_is_one_line(tokenizer: PreTrainedTokenizerBase) -> None:
    other = AutoTokenizer.from_pretrained(TINY_DIR)
    other.chat_template = "{{ raise_exception('System role not supported') }}"
    with pytest.raises(TrainingError, match="example 1: .* chat template refuses it .System role not supp"):
        token_rows(training_rows([chat("a", "b", system="s")]), other)


def with_tools() -> Example:
    messages = (
        Message(role="user", content="Weather?"),
        Message(role="assistant", content="", tool_calls=(CALL,)),
        Message(role="tool", content='{"degrees": 12}'),
        Message(role="assistant", content="12 degrees."),
    )
    return Example(messages=messages, tools=(TOOL,))


def test_tools_without_a_place_in_the_template_are_refused(tokenizer: PreTrainedTokenizerBase) -> None:
    with pytest.raises(TrainingError, match="example 1: the base's chat template has no place for its tools"):
        token_rows(training_rows([with_tools()]), tokenizer)


def test_tools_are_learned_where_the_template_knows_them() -> None:
    path = SHARED / "templates" / "qwen_25.jinja"
    if not path.exists():
        pytest.skip(f"{path} is a third party's and not there")
    knows = AutoTokenizer.from_pretrained(TINY_DIR)
    knows.chat_template = path.read_text().replace("<|im_end|>", "<|end|>")
    rows = training_rows([with_tools(), chat("a", "b")])
    made = token_rows(rows, knows)
    assert len(made) == 3
    learned = [knows.decode([label for label in row.labels if label >= 0]) for row in made]
    assert '"name": "weather"' in learned[0]
    assert learned[1].startswith("12 degrees.")
    given = _dataset(rows, knows)
    assert [row["labels"] for row in given] == [row.labels for row in made]  # pyright: ignore


def test_a_row_over_the_bases_context_is_refused_whatever_max_length_says(tokenizer: PreTrainedTokenizerBase) -> None:
    rows = token_rows(training_rows([chat("a", "word " * 1500)]), tokenizer)
    context = context_length(resolve_base("tiny"))
    assert context == 1024
    with pytest.raises(TrainingError, match="longer than the base's context of 1024 tokens .*reads more than 1024"):
        check_lengths(rows, 4096, Path("x.jsonl"), context=context)
    check_lengths(rows, 4096, Path("x.jsonl"), context=0)
