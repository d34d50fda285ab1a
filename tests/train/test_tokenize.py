"""Rows in tokens: one row an answer, and what is too long or has no template is refused."""

from pathlib import Path

import pytest
from transformers import AutoTokenizer, PreTrainedTokenizerBase

from train.model.tokenize import check_lengths, token_rows, training_rows
from understudy.bases import TINY_DIR
from understudy.data.messages import Example, Message
from understudy.errors import TrainingError


@pytest.fixture(scope="module")
def tokenizer() -> PreTrainedTokenizerBase:
    return AutoTokenizer.from_pretrained(TINY_DIR)


def chat(*texts: str, system: str = "") -> Example:
    roles = ("user", "assistant") * (len(texts) // 2)
    messages = [Message(role=role, content=text) for role, text in zip(roles, texts, strict=True)]
    first = [Message(role="system", content=system)] if system else []
    return Example(messages=(*first, *messages))


def test_every_answer_of_a_chat_is_taught_with_what_came_before() -> None:
    rows = training_rows([chat("a", "b"), chat("c", "d", "e", "f", system="s")])
    assert [len(row.prompt) for row in rows] == [1, 2, 4]
    assert [row.completion[0]["content"] for row in rows] == ["b", "d", "f"]
    assert [row.origin for row in rows] == [1, 2, 2]


def test_a_tokenizer_without_chat_template_is_refused() -> None:
    bare = AutoTokenizer.from_pretrained(TINY_DIR)
    bare.chat_template = None
    with pytest.raises(TrainingError, match="no chat template.*use the base's instruct or chat version"):
        token_rows(training_rows([chat("a", "b")]), bare)


def test_rows_that_are_too_long_are_named_with_the_number_that_would_fit(tokenizer: PreTrainedTokenizerBase) -> None:
    rows = token_rows(training_rows([chat("a", "b"), chat("a", "word " * 60)]), tokenizer)
    longest = len(rows[1].input_ids)
    with pytest.raises(
        TrainingError, match=rf"x\.jsonl: 1 of 2 rows .*\(example 2; .*set training.max_length to {longest}"
    ):
        check_lengths(rows, 32, Path("x.jsonl"))
    check_lengths(rows, longest, Path("x.jsonl"))
