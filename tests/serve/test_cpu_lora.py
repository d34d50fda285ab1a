"""The plugin for vLLM's CPU path: it computes what vLLM and PEFT compute, leaves the base alone, knows its vLLM."""

import subprocess
import sys
from types import SimpleNamespace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from serve.engine.cpu_lora.plugin import SIGNATURES, VARIABLE, WRAPPER, _wrapper, register, unfit

torch = pytest.importorskip("torch")
pytest.importorskip("vllm")

import vllm  # noqa: E402
from peft import LoraConfig, get_peft_model  # noqa: E402
from transformers import LlamaConfig, LlamaForCausalLM  # noqa: E402
from vllm.lora.layers import LoRAMapping  # noqa: E402
from vllm.lora.punica_wrapper.punica_cpu import PunicaWrapperCPU  # noqa: E402

from serve.engine.cpu_lora import kernels  # noqa: E402
from serve.engine.cpu_lora.punica_wrapper import GroupedPunicaWrapper  # noqa: E402

SLOTS, MAX_RANK = 4, 8
"""The last slot stays empty, for vLLM's own code gives it to rows without an adapter."""

BFLOAT16 = torch.ops.mkldnn._is_mkldnn_bf16_supported()
"""Without instructions for it, oneDNN multiplies no packed bfloat16, and vLLM serves in float32 (`serving_dtype`)."""
DTYPES = [torch.float32, torch.bfloat16] if BFLOAT16 else [torch.float32]

TOLERANCE = {torch.float32: 1e-5, torch.bfloat16: 2e-2}
"""Relative to the largest value; bfloat16 has 8 bits, and vLLM's own way rounds twice more than ours."""


@pytest.fixture(autouse=True, scope="module")
def one_thread():
    """Matrices this small are no work for two."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def wrapper(kind, rows: list[int], loaded: int = SLOTS - 1, prefill: bool = True):
    """A wrapper whose rows (each also a request) use the slots `rows`, -1 for none."""
    ids = tuple(slot + 1 for slot in rows)
    made = kind(max(1, len(rows)), max(1, len(rows)), "cpu")
    slots = [slot + 1 if slot < loaded else None for slot in range(SLOTS)]
    made.update_metadata(LoRAMapping(ids, ids, is_prefill=prefill), slots, SLOTS + 1, 100)
    return made


def stacks(inputs: int, outputs: tuple[int, ...], ranks: list[int], dtype=torch.float32):
    """Stacks of A and B as vLLM keeps them: slot n has rank `ranks[n]`, filled up with zeros."""
    a = tuple(torch.zeros(SLOTS, 1, MAX_RANK, inputs, dtype=dtype) for _ in outputs)
    b = tuple(torch.zeros(SLOTS, 1, size, MAX_RANK, dtype=dtype) for size in outputs)
    for slot, rank in enumerate(ranks):
        for part_a, part_b in zip(a, b, strict=True):
            part_a[slot, 0, :rank].normal_()
            part_b[slot, 0, :, :rank].normal_()
    return a, b


def assert_close(found, expected) -> None:
    scale = max(1.0, expected.float().abs().max().item() if expected.numel() else 1.0)
    limit = TOLERANCE[expected.dtype] * scale
    torch.testing.assert_close(found.float(), expected.float(), atol=limit, rtol=0)


def both(method: str, rows: list[int], y, *arguments, prefill: bool = True, **options):
    """What vLLM's own wrapper and ours make of y."""
    results = []
    for kind in (GroupedPunicaWrapper, PunicaWrapperCPU):
        out = y.clone()
        getattr(wrapper(kind, rows, prefill=prefill), method)(out, *arguments, **options)
        results.append(out)
    return results


cases = given(
    rows=st.lists(st.integers(-1, SLOTS - 2), min_size=1, max_size=24)
    | st.integers(-1, 2).map(lambda slot: [slot] * 9),
    outputs=st.lists(st.sampled_from([8, 24, 40]), min_size=1, max_size=3).map(tuple),
    ranks=st.lists(st.sampled_from([0, 3, MAX_RANK]), min_size=SLOTS - 1, max_size=SLOTS - 1),
    dtype=st.sampled_from(DTYPES),
    lora_dtype=st.sampled_from(DTYPES),
    together=st.booleans(),
    long=st.sampled_from([1, kernels.LONG]),
    prefill=st.booleans(),
    seed=st.integers(0, 99),
)


@cases
@settings(max_examples=60, deadline=None)
def test_linear_layers_compute_what_vllm_computes(
    rows, outputs, ranks, dtype, lora_dtype, together, long, prefill, seed
) -> None:
    torch.manual_seed(seed)
    a, b = stacks(16, outputs, ranks, lora_dtype)
    x, y = torch.randn(len(rows), 16).to(dtype), torch.randn(len(rows), sum(outputs)).to(dtype)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(kernels, "FEW", 48 if together else 0)
        patch.setattr(kernels, "LONG", long)
        found, expected = both("add_lora_linear", rows, y, x, a, b, 0.5, outputs, prefill=prefill)
    assert_close(found, expected)
    base = torch.tensor(rows) < 0
    assert torch.equal(found[base], y[base])


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("rows", [[0, 0, 0], [1, -1, 0, 1], [2]])
@pytest.mark.parametrize("width", [30, 40, 48])
def test_logits_compute_what_vllm_computes_also_when_padded(rows, dtype, width) -> None:
    torch.manual_seed(0)
    (a,), (b,) = stacks(16, (40,), [8, 3, 0], dtype)
    x, y = torch.randn(len(rows), 16).to(dtype), torch.randn(len(rows), width).to(dtype)
    assert_close(*both("add_lora_logits", rows, y, x, a, b, 1.0))


@pytest.mark.parametrize("add_inputs", [True, False])
@pytest.mark.parametrize("prefill", [True, False])
def test_embeddings_compute_what_vllm_computes(add_inputs, prefill) -> None:
    torch.manual_seed(0)
    rows = [0, 0, 2, 1, 0]
    _, (b,) = stacks(16, (24,), [8, 3, 8])
    x, y = torch.randn(len(rows), MAX_RANK), torch.randn(len(rows), 24)
    assert_close(*both("add_lora_embedding", rows, y, x, b, add_inputs, prefill=prefill))


@pytest.mark.parametrize("add_inputs", [True, False])
@pytest.mark.parametrize("dtype", DTYPES)
def test_shrink_and_expand_apart_compute_what_vllm_computes(add_inputs, dtype) -> None:
    torch.manual_seed(0)
    rows, outputs = [1, 1, 0, 2, 1], (24, 8)
    a, b = stacks(16, outputs, [8, 3, 8], dtype)
    x, y = torch.randn(len(rows), 16).to(dtype), torch.randn(len(rows), 40).to(dtype)
    buffers = torch.zeros(2, len(rows), MAX_RANK)
    found, expected = both("add_shrink", rows, buffers, x, a, 0.5)
    assert_close(found, expected)
    assert_close(*both("add_expand", rows, y, expected, b, outputs, offset_start=8, add_inputs=add_inputs))


def test_a_buffer_given_is_filled_as_vllm_fills_it() -> None:
    a, b = stacks(16, (24,), [8, 3, 8])
    x, y, rows = torch.randn(3, 16), torch.zeros(3, 24), [0, 1, 1]
    buffers = [(torch.zeros(3, MAX_RANK),) for _ in range(2)]
    for kind, buffer in zip((GroupedPunicaWrapper, PunicaWrapperCPU), buffers, strict=True):
        wrapper(kind, rows).add_lora_linear(y, x, a, b, 1.0, (24,), buffer=buffer)
    assert_close(buffers[0][0], buffers[1][0])


def test_classification_heads_compute_what_vllm_computes() -> None:
    rows = [0, 2, -1, 1]
    weight, bias = torch.randn(SLOTS, 1, 5, 16), torch.randn(SLOTS, 5)
    enabled = torch.tensor([True, True, False, False])
    x, y = torch.randn(4, 16), torch.randn(4, 5)
    assert_close(*both("apply_lora_full_linear", rows, y, x, weight, bias, enabled))


@pytest.mark.parametrize("rows", [[], [-1, -1]])
def test_without_an_adapter_in_the_batch_nothing_happens(rows) -> None:
    a, b = stacks(16, (24,), [8, 3, 8])
    y = torch.randn(len(rows), 24)
    before = y.clone()
    ours = wrapper(GroupedPunicaWrapper, [-1])
    ours._tokens = kernels.make_batch(torch.tensor(rows, dtype=torch.long))
    ours.add_lora_linear(y, torch.randn(len(rows), 16), a, b, 1.0, (24,))
    assert torch.equal(y, before)


def test_the_base_stays_the_base_when_every_slot_is_taken() -> None:
    """vLLM's own code adds the last slot's adapter to rows that have none."""
    a, b = stacks(16, (24,), [8] * SLOTS)
    x, y = torch.randn(3, 16), torch.randn(3, 24)
    out = y.clone()
    wrapper(GroupedPunicaWrapper, [-1, 0, -1], loaded=SLOTS).add_lora_linear(out, x, a, b, 1.0, (24,))
    assert torch.equal(out[[0, 2]], y[[0, 2]])
    assert not torch.equal(out[1], y[1])


def test_weights_written_to_a_slot_are_noticed() -> None:
    a, b = stacks(16, (24,), [8, 8, 8])
    x, y, ours = torch.randn(2, 16), torch.zeros(2, 24), wrapper(GroupedPunicaWrapper, [0, 1])
    with torch.inference_mode():  # as vLLM's worker runs
        ours.add_lora_linear(y.clone(), x, a, b, 1.0, (24,))
        a[0][1, 0, :2].copy_(torch.ones(2, 16))
        b[0][0] = 0
        out = y.clone()
        ours.add_lora_linear(out, x, a, b, 1.0, (24,))
    assert not out[0].any()
    torch.testing.assert_close(out[1], b[0][1, 0] @ (a[0][1, 0] @ x[1]))


def test_stacks_that_do_not_count_their_writes_work_too() -> None:
    with torch.inference_mode():
        a, b = stacks(16, (24,), [8, 8, 8])
        x, y = torch.randn(3, 16), torch.zeros(3, 24)
        assert_close(*both("add_lora_linear", [0, 1, 0], y, x, a, b, 1.0, (24,)))


def test_an_adapter_with_nan_spoils_its_own_rows_only() -> None:
    a, b = stacks(16, (24,), [8, 8, 8])
    b[0][1] = float("nan")
    out = torch.zeros(4, 24)
    wrapper(GroupedPunicaWrapper, [0, 1, -1, 2]).add_lora_linear(out, torch.randn(4, 16), a, b, 1.0, (24,))
    assert out.isnan().any(dim=1).tolist() == [False, True, False, False]


@pytest.mark.parametrize(
    ("rank", "loaded", "rows", "together"),
    [
        (8, 8, [0, 1, -1], True),
        (8, 32, [0, 1, 2], True),
        (64, 32, [0, 1, 2], False),
        (64, 32, list(range(32)), True),
        (8, 8, [0, 1] * 40, False),
        (8, 8, [-1, -1], False),
    ],
    ids=["few adapters", "many small ones", "many large ones", "all in use", "many rows", "nobody's"],
)
def test_adapters_are_computed_together_where_that_reads_little_of_others(rank, loaded, rows, together) -> None:
    layout = kernels.Layout(tuple((slot, rank) for slot in range(loaded)), 576, (576, 192, 192), torch.float32)
    assert bool(kernels.make_batch(torch.tensor(rows)).buffers_for(layout)) == together


@pytest.mark.parametrize(
    ("slots", "runs"),
    [
        ([0] * 40 + [1] * 24, [(0, 0, 40), (1, 40, 64)]),
        ([0] * 20 + [-1] * 9 + [0] * 12, [(0, 0, 20), (0, 29, 41)]),
        ([2], [(2, 0, 1)]),
        ([0, 1, 0, 1], []),
        ([0, -1], []),
        ([-1, -1], []),
    ],
    ids=["prompts", "rows of the base between", "one for all", "short ones", "one short one", "nobody's"],
)
def test_rows_of_prompts_are_taken_where_they_lie(slots, runs) -> None:
    found = kernels.make_batch(torch.tensor(slots)).runs
    assert [(run.slot, run.rows.start, run.rows.stop) for run in found] == runs


@pytest.mark.skipif(not BFLOAT16, reason="no instructions for bfloat16")
@pytest.mark.parametrize("most_zeros", [0, kernels.MOST_ZEROS])
@pytest.mark.parametrize("width", [72, 80], ids=["as wide as the slices", "padded"])
def test_few_rows_of_one_adapter_are_multiplied_by_prepared_weights(monkeypatch, most_zeros, width) -> None:
    torch.manual_seed(0)
    monkeypatch.setattr(kernels, "MOST_ZEROS", most_zeros)
    a, b = stacks(16, (40, 24, 8), [8, 8, 8], torch.bfloat16)
    x, y = torch.randn(2, 16).bfloat16(), torch.randn(2, width).bfloat16()
    monkeypatch.setattr(torch, "mm", None)  # PyTorch's own product takes 25 us before it begins
    ours = y.clone()
    wrapper(GroupedPunicaWrapper, [1, 1]).add_lora_linear(ours, x, a, b, 1.0, (40, 24, 8))
    monkeypatch.undo()
    theirs = y.clone()
    wrapper(PunicaWrapperCPU, [1, 1]).add_lora_linear(theirs, x, a, b, 1.0, (40, 24, 8))
    assert_close(ours, theirs)


def test_it_equals_weights_that_peft_merged() -> None:
    torch.manual_seed(0)
    heads = {"num_attention_heads": 4, "num_key_value_heads": 2}
    config = LlamaConfig.from_dict(
        {"vocab_size": 64, "num_hidden_layers": 1, "hidden_size": 32, "intermediate_size": 48, **heads}
    )
    model = LlamaForCausalLM(config)
    adapted = get_peft_model(
        model, LoraConfig(r=4, lora_alpha=12, target_modules="all-linear", init_lora_weights=False)
    )
    layer = model.model.layers[0]
    for names in (("q_proj", "k_proj", "v_proj"), ("gate_proj", "up_proj"), ("o_proj",), ("down_proj",)):
        modules = [getattr(layer.self_attn if "mlp" not in _home(name) else layer.mlp, name) for name in names]
        x = torch.randn(5, modules[0].in_features)
        y = torch.cat([module.base_layer(x) for module in modules], dim=1).detach()
        sizes = tuple(module.out_features for module in modules)
        a, b = stacks(x.size(1), sizes, [])
        for number, module in enumerate(modules):
            a[number][1, 0, :4] = module.lora_A["default"].weight.detach()
            b[number][1, 0, :, :4] = module.scaling["default"] * module.lora_B["default"].weight.detach()
        wrapper(GroupedPunicaWrapper, [1] * 5).add_lora_linear(y, x, a, b, 1.0, sizes)
        adapted.merge_adapter()
        merged = torch.cat([module.base_layer(x) for module in modules], dim=1).detach()
        adapted.unmerge_adapter()
        assert_close(y, merged)


def _home(name: str) -> str:
    return "mlp" if name in ("gate_proj", "up_proj", "down_proj") else "self_attn"


def test_the_installed_vllm_is_the_one_it_was_written_for() -> None:
    assert unfit(vllm.__version__, PunicaWrapperCPU) == ""
    assert all(hasattr(GroupedPunicaWrapper, name) for name in SIGNATURES)


def test_another_version_is_refused() -> None:
    assert "0.33.1" in unfit("0.33.1", PunicaWrapperCPU)


def test_another_signature_is_refused_with_a_warning(monkeypatch, caplog) -> None:
    class Changed(PunicaWrapperCPU):
        def add_shrink(self, y, x, weights):  # pyright: ignore[reportIncompatibleMethodOverride]
            """Takes other parameters."""

    assert "add_shrink" in unfit(vllm.__version__, Changed)
    own = "vllm.lora.punica_wrapper.punica_cpu.PunicaWrapperCPU"
    assert _wrapper(own) == WRAPPER
    monkeypatch.setattr("vllm.lora.punica_wrapper.punica_cpu.PunicaWrapperCPU", Changed)
    monkeypatch.setattr("logging.Logger.warning", lambda *arguments: warnings.append(arguments))
    warnings: list[tuple] = []
    assert _wrapper(own) == own
    assert len(warnings) == 1


@pytest.mark.parametrize(
    ("setting", "on_cpu", "taken"), [(None, True, True), ("1", True, True), ("0", True, False), (None, False, False)]
)
def test_it_takes_the_cpu_platform_only_unless_switched_off(monkeypatch, setting, on_cpu, taken) -> None:
    class Platform:
        @classmethod
        def get_punica_wrapper(cls) -> str:
            return "vllm.lora.punica_wrapper.punica_cpu.PunicaWrapperCPU"

        def is_cpu(self) -> bool:
            return on_cpu

    monkeypatch.setitem(sys.modules, "vllm.platforms", SimpleNamespace(current_platform=Platform()))
    monkeypatch.delenv(VARIABLE, raising=False)
    if setting is not None:
        monkeypatch.setenv(VARIABLE, setting)
    register()
    register()  # vLLM may call it again
    assert (Platform.get_punica_wrapper() == WRAPPER) == taken


def test_finding_the_plugin_imports_nothing_heavy() -> None:
    code = "import serve.engine.cpu_lora.plugin, sys; sys.exit(any(name in sys.modules for name in ('torch', 'vllm')))"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
