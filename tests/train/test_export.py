"""Exports: GGUF files that say what the base and the adapter say, templates that are refused, and the proof."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from evaluate.export_proof import prove
from tests.support.adapters import make_adapter, tensors
from tests.support.web_page import CHATML, chatml_base
from train.export import runtimes
from train.export.browser import whole_runs
from train.export.gguf_check import adapter_faults, model_faults
from train.export.gguf_lora import read_lora, write_lora
from train.export.gguf_model import pre_tokenizer, require_llama, write_model
from train.export.gguf_tensors import close, matrix_shapes, module_names, read_tensors, reordered, restored
from train.export.ollama import chatml
from train.export.runtimes import Questions, RuntimeAnswers, ask_llama_cpp, ask_transformers, shared
from understudy.bases import TINY, TINY_DIR, Base, read_model_config, resolve_base, weight_shapes
from understudy.cli.app import app
from understudy.config.settings import Settings, load_settings
from understudy.errors import AdapterError, NotFoundError
from understudy.registry.adapters import WEIGHTS
from understudy.registry.registry import open_registry
from understudy.workflows.exports.export import not_live
from understudy.workflows.exports.our_answers import OurAnswers, ProofChats
from understudy.workflows.exports.proof import compare, ends_of, questions_of, rendered

TOLERANCE = {"f32": 0, "f16": 1e-3, "q8_0": 0.02, "q4_1": 0.3}
"""Largest error of a weight, as a share of the tensor's largest."""


@pytest.fixture(scope="module")
def shape() -> dict[str, Any]:
    return read_model_config(resolve_base(TINY))


@pytest.mark.parametrize("precision", TOLERANCE)
def test_the_weights_of_a_gguf_file_are_the_bases(tmp_path: Path, shape: dict[str, Any], precision: str):
    write_model(TINY_DIR, tmp_path / "base.gguf", precision=precision)
    names = module_names(shape["num_hidden_layers"])
    base = {name: values for path in TINY_DIR.glob("*.safetensors") for name, values in read_tensors(path)}
    compared = 0
    for tensor in gguf.GGUFReader(tmp_path / "base.gguf").tensors:
        module = names.get(tensor.name.removesuffix(".weight"))
        if module is None:
            continue
        ours = restored(module, gguf.quants.dequantize(tensor.data, tensor.tensor_type), shape)
        theirs = base[f"{module}.weight"].astype(np.float32)
        assert np.abs(ours - theirs).max() <= TOLERANCE[precision] * np.abs(theirs).max(), module
        compared += 1
    assert compared == 7 * shape["num_hidden_layers"] + 1  # the head is tied


@given(st.sampled_from(["q_proj", "k_proj"]), st.integers(1, 4), st.integers(1, 8))
def test_rows_for_rotation_are_turned_and_turned_back(kind: str, heads: int, half: int):
    module, config = (
        f"model.layers.0.self_attn.{kind}",
        {"num_attention_heads": 2 * heads, "num_key_value_heads": heads},
    )
    count = heads * (2 if kind == "q_proj" else 1)
    rows = np.arange(count * 2 * half * 3, dtype=np.float32).reshape(-1, 3)
    turned = reordered(module, rows, config)
    np.testing.assert_array_equal(restored(module, turned, config), rows)
    np.testing.assert_array_equal(turned[:2], rows[[0, half]])  # a pair: one of each half of a head


def test_the_shapes_of_a_llama_are_those_of_its_weights(shape: dict[str, Any]):
    base, shapes = weight_shapes(resolve_base(TINY)), matrix_shapes(shape)
    found = {name.split(".")[-2]: size for name, size in base.items() if len(size) == 2}
    assert {**found, "lm_head": found["embed_tokens"]} == {**shapes, "embed_tokens": shapes["lm_head"]}


def test_other_rows_stay_as_they_are(shape: dict[str, Any]):
    rows = np.arange(12, dtype=np.float32).reshape(4, 3)
    for module in ("model.layers.0.self_attn.v_proj", "model.layers.0.self_attn.o_proj", "model.layers.0.mlp.up_proj"):
        assert reordered(module, rows, shape) is rows
        assert restored(module, rows, shape) is rows


@pytest.mark.parametrize("module", ["self_attn.q_proj", "self_attn.k_proj", "self_attn.o_proj", "mlp.down_proj"])
@pytest.mark.parametrize(("changes", "scale"), [({}, 2.0), ({"use_rslora": True}, 4.0)], ids=["LoRA", "rsLoRA"])
def test_an_adapter_survives_the_way_to_gguf_and_back(
    tmp_path: Path, shape: dict[str, Any], module: str, changes: dict[str, Any], scale: float
):
    adapter = make_adapter(tmp_path / "one", tensors(module=module), **changes)
    write_lora(adapter, shape, tmp_path / "one.gguf", half=False)
    read_lora(tmp_path / "one.gguf", shape, "tiny", tmp_path / "back")
    before, after = (dict(read_tensors(folder / WEIGHTS)) for folder in (adapter, tmp_path / "back"))
    assert before.keys() == after.keys()
    for name, values in before.items():
        np.testing.assert_array_equal(after[name], values)
    found = json.loads((tmp_path / "back" / "adapter_config.json").read_text())
    assert found["lora_alpha"] / found["r"] == pytest.approx(scale)
    assert found["target_modules"] == [f"model.layers.0.{module}"], "PEFT would look for a kind in every layer"


def test_what_is_in_every_layer_is_named_by_its_kind(tmp_path: Path, shape: dict[str, Any]):
    layers = [f".{layer}." for layer in range(shape["num_hidden_layers"])]
    weights = {name.replace(".0.", layer): values for layer in layers for name, values in tensors().items()}
    write_lora(make_adapter(tmp_path / "one", weights), shape, tmp_path / "one.gguf")
    read_lora(tmp_path / "one.gguf", shape, "tiny", tmp_path / "back")
    settings = json.loads((tmp_path / "back" / "adapter_config.json").read_text())
    assert settings["target_modules"] == ["q_proj"]


@pytest.mark.parametrize(
    "setting", [{"use_dora": True}, {"rank_pattern": {"q_proj": 8}}, {"modules_to_save": ["lm_head"]}]
)
def test_what_a_gguf_adapter_cannot_carry_is_named(tmp_path: Path, shape: dict[str, Any], setting: dict[str, Any]):
    with pytest.raises(AdapterError, match=f"{next(iter(setting))}: a GGUF adapter cannot carry that"):
        write_lora(make_adapter(tmp_path / "one", **setting), shape, tmp_path / "one.gguf")


def test_a_model_is_no_adapter(tmp_path: Path, shape: dict[str, Any]):
    write_model(TINY_DIR, tmp_path / "base.gguf")
    with pytest.raises(AdapterError, match=r"^base\.gguf: .*not a LoRA adapter$"):
        read_lora(tmp_path / "base.gguf", shape, "tiny", tmp_path / "back")
    (tmp_path / "no.gguf").write_bytes(b"hello")
    with pytest.raises(AdapterError, match=r"^no\.gguf: not a GGUF file"):
        read_lora(tmp_path / "no.gguf", shape, "tiny", tmp_path / "back")


def lora_file(
    path: Path, matrices: dict[str, np.ndarray], architecture: str = "llama", alpha: float | None = 8
) -> Path:
    """A GGUF adapter of these matrices, as another tool might write it."""
    writer = gguf.GGUFWriter(path, architecture)
    writer.add_type("adapter")
    writer.add_string("adapter.type", "lora")
    if alpha is not None:
        writer.add_float32("adapter.lora.alpha", alpha)
    for name, values in matrices.items():
        writer.add_tensor(name, values)
    close(writer)
    return path


def matrix(rows: int, columns: int, kind: type = np.float32) -> np.ndarray:
    return np.ones((rows, columns), kind)


Q, K = "blk.0.attn_q.weight.lora_{}", "blk.0.attn_k.weight.lora_{}"
QUERY = {Q.format("a"): matrix(4, 256), Q.format("b"): matrix(256, 4)}
"""LoRA matrices of the tests' base, which is 256 wide and has 4 heads of 64."""


@pytest.mark.parametrize(
    ("matrices", "words"),
    [
        ({}, "no LoRA matrices are in it"),
        ({Q.format("a"): matrix(4, 256)}, r"lora_A.weight is there, and .*lora_B.weight is missing"),
        ({Q.format("b"): matrix(256, 4)}, r"lora_B.weight is there, and .*lora_A.weight is missing"),
        ({**QUERY, Q.format("b"): matrix(2048, 4)}, r"lora_b is 2048x4, and tiny needs 256 rows; name the base"),
        ({**QUERY, Q.format("b"): matrix(255, 4)}, r"lora_b is 255x4, and tiny needs 256 rows"),  # no whole heads
        ({**QUERY, Q.format("a"): matrix(4, 2048)}, r"lora_a is 4x2048, and tiny needs 256 columns"),
        ({K.format("a"): matrix(4, 256), K.format("b"): matrix(256, 4)}, r"attn_k.weight.lora_b is 256x4, .* 128 rows"),
        ({**QUERY, Q.format("b"): matrix(256, 8)}, r"matrices of ranks \[4, 8\]; one rank is needed"),
        ({**QUERY, Q.format("a"): matrix(4, 256, np.int32)}, r"lora_a is stored as I32; convert it to F32"),
        ({**QUERY, "blk.99.attn_q.weight.lora_a": matrix(4, 256)}, "blk.99.* is no LoRA matrix of a layer or the head"),
        ({"token_embd.weight.lora_a": matrix(4096, 4)}, "token_embd.* is no LoRA matrix of a layer or the head"),
    ],
)
def test_a_gguf_adapter_of_another_shape_ends_in_a_line(
    tmp_path: Path, shape: dict[str, Any], matrices: dict[str, np.ndarray], words: str
):
    two_key_heads = {**shape, "num_key_value_heads": 2}
    with pytest.raises(AdapterError, match=rf"^poet\.gguf: .*{words}") as said:
        read_lora(lora_file(tmp_path / "poet.gguf", matrices), two_key_heads, "tiny", tmp_path / "back")
    assert "\n" not in str(said.value)
    assert not (tmp_path / "back").exists()


def test_what_llama_cpp_has_reordered_alone_is_put_back(tmp_path: Path, shape: dict[str, Any]):
    """Rows of a Llama are reordered in its file, and those of other architectures are not."""
    file = lora_file(tmp_path / "poet.gguf", QUERY, "qwen2")
    with pytest.raises(
        AdapterError, match=r"^poet\.gguf: a LoRA adapter of the architecture qwen2; only those of llama"
    ):
        read_lora(file, shape, "tiny", tmp_path / "back")
    file = lora_file(tmp_path / "poet.gguf", QUERY)
    other = {**shape, "architectures": ["Qwen2ForCausalLM"]}
    with pytest.raises(
        AdapterError, match=r"^poet\.gguf: made for a Llama, and qwen is a Qwen2ForCausalLM; name its base"
    ):
        read_lora(file, other, "qwen", tmp_path / "back")
    for number, model in enumerate(("LlamaForCausalLM", "MistralForCausalLM")):
        read_lora(file, {**shape, "architectures": [model]}, "tiny", tmp_path / f"back-{number}")


@pytest.mark.parametrize(
    ("said", "given", "alpha"),
    [
        (8, None, 8),
        (8, 8, 8),
        (22.627417, 22.6274169979, 22.627417),
        (8, 16, "its alpha is 8, not 16; leave --alpha out"),
        (None, 16, 16),
        (None, None, "it does not say its alpha; give the one that it was trained with: --alpha N"),
        (0, None, "it does not say its alpha"),
        (float("nan"), None, "a number is needed"),
    ],
)
def test_the_alpha_of_a_gguf_adapter_is_its_own(
    tmp_path: Path, shape: dict[str, Any], said: float | None, given: float | None, alpha: float | str
):
    file = lora_file(tmp_path / "poet.gguf", QUERY, alpha=said)
    if isinstance(alpha, str):
        with pytest.raises(AdapterError, match=rf"^poet\.gguf: .*{alpha}"):
            read_lora(file, shape, "tiny", tmp_path / "back", alpha=given)
        return
    read_lora(file, shape, "tiny", tmp_path / "back", alpha=given)
    found = json.loads((tmp_path / "back" / "adapter_config.json").read_text())
    assert found["lora_alpha"] == pytest.approx(alpha)


def test_a_gguf_adapter_that_is_cut_off_is_no_gguf_file(tmp_path: Path, shape: dict[str, Any]):
    whole = lora_file(tmp_path / "whole.gguf", QUERY).read_bytes()
    for length in range(0, len(whole) - 1, 61):
        (tmp_path / "cut.gguf").write_bytes(whole[:length])
        with pytest.raises(AdapterError, match=r"^cut\.gguf: not a GGUF file"):
            read_lora(tmp_path / "cut.gguf", shape, "tiny", tmp_path / "back")


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"architectures": ["Qwen3ForCausalLM"]}, "a Qwen3ForCausalLM cannot be written as GGUF here"),
        ({"attention_bias": True}, "a Llama with biases"),
        ({"rope_scaling": {"rope_type": "llama3"}}, "its rope_scaling"),
        ({"rope_scaling": {"type": "linear", "factor": 2.0}}, "its rope_scaling"),
        ({"rope_parameters": {"rope_type": "llama3", "rope_theta": 5e5, "factor": 8.0}}, "its rope_parameters"),
        ({"rope_parameters": {"rope_type": "yarn", "rope_theta": 1e4, "factor": 4.0}}, "its rope_parameters"),
        ({"rope_parameters": {"rope_type": "dynamic", "rope_theta": 1e4}}, "its rope_parameters"),
    ],
)
def test_an_architecture_that_is_not_covered_is_named(shape: dict[str, Any], changes: dict[str, Any], words: str):
    with pytest.raises(AdapterError, match=words):
        require_llama({**shape, **changes}, Path("base"))


def test_a_tokenizer_that_is_not_known_is_refused():
    known = json.loads((TINY_DIR / "tokenizer.json").read_text())
    assert pre_tokenizer(known)
    with pytest.raises(AdapterError, match="splits text in a way that is not known"):
        pre_tokenizer({**known, "pre_tokenizer": {"type": "Whitespace"}})
    with pytest.raises(AdapterError, match="no byte-level BPE"):
        pre_tokenizer({**known, "model": {**known["model"], "type": "Unigram"}})


@pytest.mark.parametrize("form", ["merged", "peft", "web"])
@pytest.mark.parametrize("option", [["--precision", "f32"], ["--merge"]], ids=" ".join)
def test_an_option_that_a_form_has_no_use_for_is_refused(form: str, option: list[str]):
    done = CliRunner().invoke(app, ["export", "poet", "--to", form, *option], terminal_width=200)
    assert done.exit_code == 2
    assert "leave out --precision and --merge" in done.stderr


def test_a_revision_that_is_not_live_is_named(settings: Settings, tmp_path: Path):
    registry = open_registry(settings)
    first, second = (
        registry.push("poet", make_adapter(tmp_path / str(n), tensors(seed=n)), actor="ann") for n in (1, 2)
    )
    assert not_live(settings, ["poet"]) == [second.served_name]
    assert not_live(settings, [first.served_name]) == []
    (tmp_path / "out").mkdir()  # so that it ends there
    places = {"UNDERSTUDY_HOME": str(settings.home), "UNDERSTUDY_BASE": TINY}
    done = CliRunner(env=places).invoke(app, ["export", "poet", "--to", "peft", "--out", str(tmp_path / "out")])
    assert f"poet has no live revision; its newest is exported: {second.served_name}" in done.stderr
    registry.set_live(first, actor="ann", action="publish", detail={})
    assert not_live(settings, ["poet", "poet@" + second.id]) == []
    with pytest.raises(NotFoundError, match="no persona 'mime'"):
        not_live(settings, ["mime"])


def test_chatml_is_what_the_template_renders():
    import jinja2

    template = jinja2.Environment().from_string(CHATML)
    for chat in (
        [{"role": "user", "content": "A"}],
        [{"role": "system", "content": "S"}, {"role": "user", "content": "A"}],
    ):
        assert chatml(chat, "You are a test") == template.render(messages=chat, add_generation_prompt=True)


GOOD = {
    "prompts": [[1, 2], [1, 3]] * 30,
    "answers": [[4, 5, 6, 7], [5, 6, 7, 8]] * 30,
    "ended": [True, False] * 30,
    "their_prompts": [[1, 2], [1, 3]] * 30,
    "their_answers": [[4, 5, 6, 7], [5, 6, 7, 8]] * 30,
    "their_next": [[4, 5, 6, 7, 0], [5, 6, 7, 8, 9]] * 30,
}


@pytest.mark.parametrize(
    ("precision", "changes", "reason"),
    [
        ("f32", {}, ""),
        ("q4_1", {}, ""),
        ("q4_1", {"their_answers": [[9]] * 60}, ""),  # only float32 is held to the words
        ("f32", {"their_answers": [[9]] * 60}, "0 of 60 answers are ours word for word"),
        ("f32", {"their_answers": [[9]] * 3 + GOOD["their_answers"][3:]}, ""),
        ("f32", {"their_answers": [[9]] * 4 + GOOD["their_answers"][4:]}, "56 of 60 answers"),
        ("f16", {"their_prompts": [[1, 2], [0, 1, 3]] * 30}, "30 of 60 prompts have other tokens than ours"),
        ("f16", {"their_next": [[4, 5, 6, 9, 0], [5, 6, 7, 9, 9]] * 30}, "77.8% of the next tokens agree"),
        ("q4_1", {"their_next": [[4, 5, 6, 7, 9], [5, 6, 7, 8, 9]] * 30}, "it ends 0 of the 30 answers that end"),
        ("q8_0", {"their_next": [[], []] * 30}, "0.0% of the next tokens agree"),
        ("q4_1", {"styled": [(4, 3)] + [(4, 4)] * 3}, ""),  # one of four says nothing
        ("q4_1", {"styled": [(2, 1)] * 6 + [(1, 2)] * 4 + [(2, 2)] * 20}, ""),  # as many gain it as lose it
        ("q4_1", {"styled": [(2, 1)] * 4 + [(2, 2)] * 26}, ""),
        ("q4_1", {"styled": [(2, 1)] * 5 + [(2, 2)] * 25}, "5 of 30 answers meet fewer golden expectations than ours"),
        ("f16", {"styled": [(2, 0)] * 30}, "30 of 30 answers meet fewer golden expectations than ours and 0 meet more"),
    ],
)
def test_the_proof_passes_what_is_equal_and_says_what_is_not(precision: str, changes: dict[str, Any], reason: str):
    proof = prove("test", precision, ends=[0], **{**GOOD, **changes})
    assert proof.passed == (not reason)
    assert reason in "\n".join(proof.reasons)


def test_a_proof_names_a_missing_stop_token_and_another_template():
    proof = prove("test", "f16", ends=[0], **GOOD, stops=False, templates_equal=58)
    assert "its stop token is missing" in proof.reasons[0]
    assert "its chat template writes 2 of 60 prompts otherwise" in proof.reasons[1]


CHATS = [
    [{"role": "user", "content": text}]
    for text in ("Sell me a kite.", "Room 1234 is cold.", "def f(x):\n    return x", "Why?")
]
ASKED = ProofChats(CHATS, [])


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> tuple[Base, Path, OurAnswers]:
    """A ChatML base, a random adapter, and what they say in float32; transformers stands in for our engine."""
    folder = tmp_path_factory.mktemp("planted")
    base = chatml_base(folder / "base")
    adapter = make_adapter(folder / "adapter", tensors(scale=0.3))
    prompts = [tokens_of(base, text) for text in rendered(base, CHATS)]
    asked = Questions([], prompts, [[] for _ in prompts], ends_of(base), [24] * len(prompts))
    said = ask_transformers(Path(base.location), adapter, asked, lambda done, total: None).answers
    return base, adapter, OurAnswers(prompts, said, [len(one) < 24 for one in said])


def tokens_of(base: Base, text: str) -> list[int]:
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(base.location)(text, add_special_tokens=False)["input_ids"]


def bos_doubled(patch: pytest.MonkeyPatch) -> None:
    add = gguf.GGUFWriter.add_add_bos_token
    patch.setattr(
        gguf.GGUFWriter, "add_add_bos_token", lambda writer, _: (writer.add_bos_token_id(1), add(writer, True))
    )


def no_system_turn(patch: pytest.MonkeyPatch) -> None:
    plain = CHATML[CHATML.index("{{'<|im_start|>' + message") :]
    template = "{% for message in messages %}" + plain
    add = gguf.GGUFWriter.add_chat_template
    patch.setattr(gguf.GGUFWriter, "add_chat_template", lambda writer, _: add(writer, template))


def another_pre_tokenizer(patch: pytest.MonkeyPatch) -> None:
    patch.setattr("train.export.gguf_model.pre_tokenizer", lambda _: "deepseek-coder")


def rows_not_turned(patch: pytest.MonkeyPatch) -> None:
    patch.setattr("train.export.gguf_model.reordered", lambda module, rows, config: rows)


def scale_off(patch: pytest.MonkeyPatch) -> None:
    add = gguf.GGUFWriter.add_float32
    patch.setattr(
        gguf.GGUFWriter,
        "add_float32",
        lambda writer, key, value: add(writer, key, value * (8 if "alpha" in key else 1)),
    )


def no_stop_token(patch: pytest.MonkeyPatch) -> None:
    """The end of turn is a token like any other; its name must go, too, because llama.cpp knows some of those names."""
    add = gguf.GGUFWriter.add_token_list
    patch.setattr(gguf.GGUFWriter, "add_eos_token_id", lambda writer, _: None)
    patch.setattr(
        gguf.GGUFWriter,
        "add_token_list",
        lambda writer, names: add(writer, [name.replace("<|end|>", "<|fin|>") for name in names]),
    )


def head_untied(patch: pytest.MonkeyPatch) -> None:
    add = gguf.GGUFWriter.add_token_types

    def with_another_head(writer: gguf.GGUFWriter, kinds: list[int]) -> None:
        random = np.random.default_rng(0).standard_normal((4096, 256), np.float32)
        writer.add_tensor("output.weight", 0.02 * random)  # as one that was made anew when the tie was not seen
        add(writer, kinds)

    patch.setattr(gguf.GGUFWriter, "add_token_types", with_another_head)


PROMPTS, NEXT = "prompts have other tokens than ours", "of the next tokens agree with ours"
PLANTED: dict[str, tuple[Callable[[pytest.MonkeyPatch], None], str, str]] = {
    "no system turn": (no_system_turn, "its chat template writes 4 of 4 prompts otherwise", ""),
    "no stop token": (no_stop_token, "its end of turn is token None, ours 1", "it does not stop at our end of turn"),
    "BOS doubled": (bos_doubled, "llama.cpp puts a BOS before prompts", PROMPTS),
    "scale off": (scale_off, "its adapter counts 16 times, ours 2 times", NEXT),
    "head untied": (head_untied, "it has a head of its own (output.weight)", NEXT),
    "another pre-tokenizer": (another_pre_tokenizer, "its pre-tokenizer is deepseek-coder, the base's smollm", PROMPTS),
    "q and k not turned": (rows_not_turned, "its query and key rows are not in the order", NEXT),
}
"""Errors that exports usually have: how each is planted, how it is named, and how llama.cpp's answers show it."""


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("error", ["", *PLANTED])
def test_a_planted_error_is_named(
    tmp_path: Path, served: tuple[Base, Path, OurAnswers], monkeypatch: pytest.MonkeyPatch, error: str
):
    base, adapter, ours = served
    plant, named, heard = PLANTED.get(error, (lambda patch: None, "", ""))
    with monkeypatch.context() as patch:
        plant(patch)
        write_model(Path(base.location), tmp_path / "base.gguf", precision="f32")
        write_lora(adapter, read_model_config(base), tmp_path / "adapter.gguf", half=False)
    questions = questions_of(base, ASKED, ours)
    cache = load_settings().bases_dir.parent
    pair = (tmp_path / "base.gguf", [(tmp_path / "adapter.gguf", 1.0)])
    theirs = ask_llama_cpp(*pair, questions, cache, lambda done, total: None)
    faults = model_faults(pair[0], Path(base.location)) + adapter_faults(tmp_path / "adapter.gguf", adapter)
    proof = compare(base, "llama.cpp", "f16", ASKED, ours, theirs, faults)
    assert proof.passed == (not error), proof
    assert [reason for reason in proof.reasons if named in reason] or not error, proof
    assert [reason for reason in proof.reasons if heard in reason] or not error, proof


@pytest.mark.parametrize(
    ("ours", "following", "limit", "kept"),
    [
        ([5, 6, 7], [5, 6, 7, 2], 48, 3),
        ([5, 6, 7], [5, 9, 7, 2], 48, 1),
        ([5, 6, 7], [9, 6, 7, 2], 48, 0),
        ([5, 6, 7], [5, 6, 7, 2], 2, 2),
        ([], [2], 48, 0),
    ],
    ids=["all", "up to the first other token", "none", "no more than it may say", "an empty answer"],
)
def test_as_much_of_our_answer_is_a_runtimes_own_as_it_would_have_said(ours, following, limit, kept) -> None:
    assert shared(ours, following, limit) == kept


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("runtime", ["transformers", "llama.cpp"])
def test_answers_of_which_only_the_rest_is_generated_are_those_generated_as_a_whole(
    tmp_path: Path, served: tuple[Base, Path, OurAnswers], monkeypatch: pytest.MonkeyPatch, runtime: str
):
    base, adapter, ours = served
    first, second, *others = ours.answers
    told = [first, [*second[:7], second[7] + 1, *second[8:]], *others]  # one that the runtime leaves half way
    questions = questions_of(base, ASKED, OurAnswers(ours.prompts, told, ours.ended))
    if runtime == "llama.cpp":
        write_model(Path(base.location), tmp_path / "base.gguf", precision="f32")
        write_lora(adapter, read_model_config(base), tmp_path / "adapter.gguf", half=False)

    def asked(generated: int) -> RuntimeAnswers:
        monkeypatch.setattr("train.export.runtimes.GENERATED", generated)
        if runtime == "transformers":
            return ask_transformers(Path(base.location), adapter, questions, lambda done, total: None)
        lora, cache = [(tmp_path / "adapter.gguf", 1.0)], load_settings().bases_dir.parent
        return ask_llama_cpp(tmp_path / "base.gguf", lora, questions, cache, lambda done, total: None)

    found = asked(0)
    assert found == asked(len(CHATS))
    assert found.answers[1][:8] == second[:8]
    assert found.answers[1][:8] != told[1][:8]


@pytest.mark.slow
def test_what_llama_cpp_says_may_be_more_than_a_pipe_takes_at_once(
    tmp_path: Path, served: tuple[Base, Path, OurAnswers]
):
    base, _, ours = served
    write_model(Path(base.location), tmp_path / "base.gguf", precision="f32")
    asked = Questions(["kite " * 30_000], ours.prompts[:1], [[]], ends_of(base), [1])
    cache = load_settings().bases_dir.parent
    found = ask_llama_cpp(tmp_path / "base.gguf", [], asked, cache, lambda done, total: None)
    assert len(json.dumps(found.prompts)) > 2 * 65_536


@pytest.mark.parametrize(
    ("answer", "runs"),
    [
        (b"ab", [(0, "", b"ab")]),
        ("añb".encode(), [(0, "", b"a"), (3, "añ", b"b")]),
        ("ñ".encode(), [(2, "ñ", b"")]),
        ("ab🎭".encode(), [(0, "", b"ab"), (6, "ab🎭", b"")]),
        (b"", [(0, "", b"")]),
        (b"a\xc3", [(0, "", b"a")]),
    ],
    ids=["whole", "two bytes within", "at the beginning", "at the end", "empty", "cut within a character"],
)
def test_an_answer_is_forced_in_runs_of_whole_characters(answer: bytes, runs: list[tuple[int, str, bytes]]) -> None:
    found = whole_runs(list(answer), lambda tokens: bytes(tokens).decode(errors="replace"))
    assert [(run["start"], run["before"], bytes(run["tokens"])) for run in found] == runs
    assert ["".join(run["pieces"]).encode() for run in found] == [tokens for _, _, tokens in runs]


@pytest.mark.parametrize(("busy", "threads"), [(0.1, 4), (1.2, 3), (3.9, 1), (4.0, 1)])
def test_llama_cpp_gets_the_cores_that_nobody_computes_on_now(monkeypatch: pytest.MonkeyPatch, busy, threads) -> None:
    """The load average would count the engine that has just been asked."""
    monkeypatch.setattr("os.cpu_count", lambda: 4)
    monkeypatch.setattr("train.export.runtimes.busy_cores", lambda: busy)
    assert runtimes._free_cores() == threads
