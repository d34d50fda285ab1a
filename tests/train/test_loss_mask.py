"""Only the answer and its end carry loss, and a row whose end is not trained is refused."""

import pytest
from transformers import AutoTokenizer, PreTrainedTokenizerBase

from train.model.loss_mask import IGNORED, TokenRow, check_masks, check_stop_trained
from train.model.tokenize import token_rows, training_rows
from understudy.bases import TINY_DIR
from understudy.data.messages import Example, Message
from understudy.errors import TrainingError


@pytest.fixture(scope="module")
def tokenizer() -> PreTrainedTokenizerBase:
    return AutoTokenizer.from_pretrained(TINY_DIR)


def chat(prompt: str, answer: str) -> Example:
    return Example(messages=(Message(role="user", content=prompt), Message(role="assistant", content=answer)))


def test_loss_is_on_the_answer_and_its_end_only(tokenizer: PreTrainedTokenizerBase) -> None:
    example = chat("Tell me about tea.", "Tea is hot.")
    (row,) = token_rows(training_rows([example]), tokenizer)
    trained = [label for label in row.labels if label != IGNORED]
    assert tokenizer.decode(trained) == "Tea is hot." + str(tokenizer.eos_token)
    prompt = tokenizer.apply_chat_template(example.prompt, add_generation_prompt=True, tokenize=False)
    assert tokenizer.decode(row.input_ids[: -len(trained)]) == prompt, "training and serving prompts must be equal"


def test_a_template_that_rewrites_the_prompt_is_refused() -> None:
    odd = AutoTokenizer.from_pretrained(TINY_DIR)
    odd.chat_template = "{% for m in messages %}{{ m['content'] }}{{ messages|length }}{% endfor %}"
    with pytest.raises(TrainingError, match="example 1: the chat template writes the prompt differently"):
        token_rows(training_rows([chat("a", "b")]), odd)


def test_a_template_that_does_not_end_answers_is_refused() -> None:
    endless = AutoTokenizer.from_pretrained(TINY_DIR)
    endless.chat_template = "{% for m in messages %}{{ m['content'] }}\n{% endfor %}"
    rows = token_rows(training_rows([chat("a", "b")]), endless)
    assert isinstance(endless.eos_token_id, int)
    with pytest.raises(TrainingError, match="end-of-turn token .* is not trained, so the answers would never stop"):
        check_stop_trained([row.labels for row in rows], {endless.eos_token_id})


@pytest.mark.parametrize("labels", [[[IGNORED, IGNORED]], [[5, 6, 7]], [[1, 5, 6, 7]]])
def test_rows_without_a_trained_stop_are_refused(labels: list[list[int]]) -> None:
    with pytest.raises(TrainingError, match="row 1"):
        check_stop_trained(labels, {1})


def test_a_trainer_that_masks_something_else_is_refused(tokenizer: PreTrainedTokenizerBase) -> None:
    rows = token_rows(training_rows([chat("a", "b")]), tokenizer)
    check_masks(list(rows), rows)
    on_prompt = [TokenRow(rows[0].input_ids, rows[0].input_ids, 1)]
    with pytest.raises(TrainingError, match="row 1: the trainer's tokens or loss mask"):
        check_masks(on_prompt, rows)
    with pytest.raises(TrainingError, match="made 0 rows of 1"):
        check_masks([], rows)
