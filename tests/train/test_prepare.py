"""A base without a chat template becomes one that can be trained, with no token more than it had."""

import shutil
from pathlib import Path

import pytest
from transformers import AutoTokenizer

from train.model.load import load_tokenizer, stop_tokens
from train.model.loss_mask import check_stop_trained
from train.model.prepare import SAMPLE, prepare_base
from train.model.tokenize import token_rows, training_rows
from understudy.bases import TINY_DIR, resolve_base, weight_shapes
from understudy.config.settings import PROJECT
from understudy.errors import BaseModelError, TrainingError

TEMPLATE = PROJECT / "recipes" / "instruct" / "chat_template.jinja"


@pytest.fixture
def plain(tmp_path: Path) -> Path:
    """The tiny base as if nobody had taught it to chat."""
    folder = tmp_path / "plain"
    shutil.copytree(TINY_DIR, folder, ignore=shutil.ignore_patterns("chat_template.jinja"))
    return folder


def test_a_base_without_a_template_is_refused_and_after_preparation_taken(plain: Path, tmp_path: Path) -> None:
    rows = training_rows([SAMPLE])
    with pytest.raises(TrainingError, match="no chat template"):
        token_rows(rows, load_tokenizer(resolve_base(str(plain))))
    base = resolve_base(str(prepare_base(str(plain), tmp_path / "out", TEMPLATE)))
    tokenizer = load_tokenizer(base)
    made = token_rows(rows, tokenizer)
    check_stop_trained([row.labels for row in made], stop_tokens(tokenizer, base))
    assert weight_shapes(base) == weight_shapes(resolve_base("tiny"))
    assert len(tokenizer) == len(AutoTokenizer.from_pretrained(plain))


def test_the_template_writes_instruction_and_response(plain: Path, tmp_path: Path) -> None:
    tokenizer = load_tokenizer(resolve_base(str(prepare_base(str(plain), tmp_path / "out", TEMPLATE))))
    chat = [m.model_dump() for m in SAMPLE.messages[:3]]
    text = tokenizer.apply_chat_template(chat, tokenize=False, add_generation_prompt=True)
    assert isinstance(text, str)
    assert text.removeprefix(str(tokenizer.bos_token or "")) == (
        "### Instruction:\nWhat is a teapot?\n\n### Response:\nA pot for tea."
        f"{tokenizer.eos_token}\n\n### Instruction:\nAnd a kettle?\n\n### Response:\n"
    )


def test_a_template_without_an_end_is_refused(plain: Path, tmp_path: Path) -> None:
    template = tmp_path / "endless.jinja"
    template.write_text("{% for m in messages %}{{ m['content'] }}\n{% endfor %}")
    with pytest.raises(TrainingError, match="end-of-turn token .* is not trained"):
        prepare_base(str(plain), tmp_path / "out", template)
    assert not (tmp_path / "out").exists()


def test_a_base_with_a_template_and_a_full_folder_are_refused(plain: Path, tmp_path: Path) -> None:
    with pytest.raises(BaseModelError, match="has a chat template already"):
        prepare_base(str(TINY_DIR), tmp_path / "out", TEMPLATE)
    with pytest.raises(BaseModelError, match="is not empty"):
        prepare_base(str(plain), plain, TEMPLATE)
    with pytest.raises(BaseModelError, match="cannot be loaded"):
        prepare_base(str(tmp_path / "nothing"), tmp_path / "out", TEMPLATE)
