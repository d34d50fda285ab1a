"""Static validation of configurations: a table of those that vLLM would not serve as they were trained."""

import re
from pathlib import Path
from random import Random
from typing import Any

import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as examples
from hypothesis import strategies as st

from serve.rollout.validate_config import module_rank, module_scale, modules_wanted
from serve.rollout.validate_weights import linear_modules
from tests.support.adapters import make_adapter
from tests.support.broken_adapters import json_values, problems, sound_lines
from understudy.bases import resolve_base
from understudy.registry.adapters import CONFIG


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"peft_type": "IA3"}, "peft_type is 'IA3'"),
        ({"peft_type": None}, "peft_type is None"),
        ({"task_type": "SEQ_CLS"}, "task_type is 'SEQ_CLS'"),
        (
            {"task_type": None, "auto_mapping": {"base_model_class": "LlamaForSequenceClassification"}},
            "auto_mapping says",
        ),
        ({"base_model_name_or_path": "gpt2"}, "trained on base 'gpt2'"),
        ({"base_model_name_or_path": None}, "which base .* is None"),
        ({"base_model_name_or_path": ["tiny"]}, "which base"),
        ({"revision": 7}, "revision is 7"),
        ({"revision": "0" * 12}, "another build of tiny"),
        ({"r": 128}, "rank 128 is over the engine's maximum 64"),
        ({"r": "four"}, "rank 'four' is not a positive whole number"),
        ({"r": True}, "rank True is not a positive whole number"),
        ({"r": 8}, "has shape .* rank 8 on this base needs"),
        ({"r": 0}, "rank 0 is not a positive whole number"),
        ({"r": -4}, "rank -4 is not"),
        ({"r": 4.0}, "rank 4.0 is not"),
        ({"r": 10**400}, "rank 1000"),
        ({"rank_pattern": {"q_proj": 128}}, "rank 128 is over the engine's maximum 64"),
        ({"rank_pattern": {"q_proj": 2}}, "has shape .* rank 2 on this base needs"),
        ({"rank_pattern": {"q_proj": True}}, "rank_pattern.* is True"),
        ({"rank_pattern": {"(x+)+y": 4}}, "regular expression"),
        ({"rank_pattern": [4]}, "not an object"),
        ({"alpha_pattern": {"q_proj": "8"}}, "alpha_pattern.* is '8', not a positive number"),
        ({"alpha_pattern": {"q_proj": 4001}}, "multiplies updates by 1e\\+03"),
        ({"lora_alpha": None}, "lora_alpha None"),
        ({"lora_alpha": True}, "lora_alpha True"),
        ({"lora_alpha": "8"}, "lora_alpha '8'"),
        ({"lora_alpha": -8}, "lora_alpha -8 is not a positive number"),
        ({"lora_alpha": 0}, "lora_alpha 0 is not"),
        ({"lora_alpha": 10**6}, "multiplies updates by 2.5e\\+05"),
        ({"use_rslora": "yes"}, "use_rslora is 'yes'"),
        ({"use_qalora": True}, "QALoRA is not served"),
        ({"use_bdlora": {"nblocks": 2}}, "block-diagonal"),
        ({"arrow_config": {"top_k": 3}}, "Arrow"),
        ({"kasa_config": {"beta": 1}}, "KaSA"),
        ({"monteclora_config": {"num_samples": 8}}, "MonteCLoRA"),
        ({"megatron_config": {"x": 1}}, "Megatron"),
        ({"target_parameters": ["mlp.experts.gate_up_proj"]}, "target_parameters"),
        ({"layer_replication": [[0, 4], [2, 5]]}, "layer replication"),
        ({"alora_invocation_tokens": [5]}, "activated LoRA"),
        ({"use_teleport": True}, "use_teleport is set, a variant"),
        ({"warp_config": {"x": 1}}, "warp_config is set, a variant"),
        ({"init_lora_weights": "olora"}, "init_lora_weights is 'olora'"),
        ({"init_lora_weights": "corda"}, "init_lora_weights is 'corda'"),
        ({"init_lora_weights": "loftq"}, "init_lora_weights is 'loftq'"),
        ({"init_lora_weights": "lora_ga"}, "init_lora_weights is 'lora_ga'"),
        ({"init_lora_weights": "pissa_niter_4"}, "init_lora_weights is 'pissa_niter_4'"),
        ({"init_lora_weights": 1}, "init_lora_weights is 1;"),
        ({"bias": None}, "bias is None"),
        ({"target_modules": ["k_proj"]}, "target_modules does not cover model.layers.0.self_attn.q_proj"),
        ({"target_modules": ["q_proj"]}, "target_modules covers .*q_proj and 3 more, but there are no tensors"),
        ({"target_modules": ["model.layers.0.self_attn.q_proj", "layers.0.mlp.up_proj"]}, "covers .*up_proj, but"),
        ({"target_modules": None}, "target_modules is None; it must name modules"),
        ({"target_modules": []}, "it must name modules"),
        ({"target_modules": [1]}, "it must name modules"),
        ({"exclude_modules": ["q_proj"]}, "target_modules does not cover"),
        ({"layers_to_transform": [1], "target_modules": ["q_proj"]}, "target_modules does not cover"),
        ({"layers_to_transform": 1, "target_modules": ["q_proj"]}, "target_modules does not cover"),
        ({"layers_to_transform": [0, 1], "target_modules": ["q_proj"]}, "covers model.layers.1.self_attn.q_proj, but"),
        ({"layers_to_transform": "0"}, "not a list of layer numbers"),
        (
            {"layers_to_transform": [0], "layers_pattern": "blocks", "target_modules": ["q_proj"]},
            "target_modules does not cover",
        ),
        ({"layers_pattern": 3}, "layers_pattern is 3"),
        ({"use_dora": True}, "DoRA is not served"),
        ({"lora_bias": True}, "LoRA bias is not served"),
        ({"bias": "all"}, "without bias only"),
        ({"modules_to_save": ["lm_head"]}, "modules_to_save"),
        ({"init_lora_weights": "pissa"}, "init_lora_weights is 'pissa'; convert"),
        ({"trainable_token_indices": [1]}, "trained token embeddings"),
    ],
)
def test_a_configuration_that_cannot_be_served_is_refused(tmp_path: Path, changes: dict[str, Any], says: str) -> None:
    found = problems(make_adapter(tmp_path, **changes))
    assert any(re.search(says, problem) for problem in found), found


@pytest.mark.parametrize(
    "changes",
    [
        {"use_rslora": True},
        {"task_type": None},
        {"task_type": None, "auto_mapping": {"base_model_class": "LlamaForCausalLM", "parent_library": "x"}},
        {"lora_alpha": 0.5},
        {"revision": None},
        {"revision": "main"},
        {"init_lora_weights": "orthogonal"},
        {"init_lora_weights": "eva", "eva_config": {"rho": 2.0}},
        {"loftq_config": {"loftq_bits": 4}, "lora_dropout": 0.1, "fan_in_fan_out": True, "qalora_group_size": 16},
        {"trained_with": "something", "use_dora": False, "corda_config": None, "use_teleport": False},
        {"target_modules": ["q_proj"], "layers_to_transform": [0]},
        {"layers_to_transform": [3]},  # a full name is meant whatever the layers
        {"target_modules": ["q_proj"], "layers_to_transform": 0, "layers_pattern": "layers"},
        {"target_modules": ["q_proj"], "layers_to_transform": [0], "layers_pattern": ["h", "layers"]},
        {"target_modules": ["q_proj"], "exclude_modules": [f"layers.{n}.self_attn.q_proj" for n in range(1, 5)]},
        {"target_modules": ["layers.0.self_attn.q_proj", "c_attn"]},
        {"target_modules": r".*\.layers\.0\..*q_proj"},
        {"r": 8, "rank_pattern": {"q_proj": 4}},
        {"r": 8, "rank_pattern": {"^model.layers.0.self_attn.q_proj": 4}, "alpha_pattern": {"q_proj": 3}},
    ],
)
def test_a_configuration_that_vllm_serves_as_it_was_trained_is_accepted(
    tmp_path: Path, changes: dict[str, Any]
) -> None:
    assert problems(make_adapter(tmp_path, **changes)) == []


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (b"[]", "found a JSON list, not an object"),
        (b"{", "not JSON"),
        (b"\xff", "not UTF-8"),
        (b'{"r": 4, "r": 8}', "the name 'r' occurs twice"),
        (b'{"lora_alpha": NaN}', "found NaN, which is not JSON"),
        (b'{"lora_alpha": -Infinity}', "found -Infinity"),
        (b'{"x":' * 100_000, "nested too deep"),
        (b'{"r": ' + b"9" * 5000 + b"}", "digits"),
    ],
)
def test_a_configuration_that_readers_could_read_differently_is_refused(tmp_path: Path, text: bytes, says: str) -> None:
    (make_adapter(tmp_path) / CONFIG).write_bytes(text)
    (problem,) = problems(tmp_path)
    assert says in problem


def test_infinity_by_another_name_is_no_number(tmp_path: Path) -> None:
    text = (make_adapter(tmp_path) / CONFIG).read_text().replace('"lora_alpha": 8', '"lora_alpha": 1e999')
    (tmp_path / CONFIG).write_text(text)
    assert "lora_alpha inf is not a positive number" in problems(tmp_path)[0]


FIELDS = [
    *("peft_type", "task_type", "base_model_name_or_path", "revision", "r", "lora_alpha", "bias", "use_rslora"),
    *("rank_pattern", "alpha_pattern", "target_modules", "exclude_modules", "layers_to_transform", "layers_pattern"),
    *("init_lora_weights", "modules_to_save", "use_dora", "eva_config", "use_x"),
]


@pytest.mark.fuzz
@examples(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(changes=st.dictionaries(st.sampled_from(FIELDS), json_values, min_size=1, max_size=4))
def test_no_configuration_makes_it_raise(tmp_path: Path, changes: dict[str, Any]) -> None:
    assert sound_lines(problems(make_adapter(tmp_path, **changes)))


@pytest.mark.slow
def test_modules_ranks_and_scales_are_those_of_peft_and_vllm() -> None:
    """Our reading of the settings against the libraries' own, on random settings."""
    peft, tuners = pytest.importorskip("peft"), pytest.importorskip("peft.tuners.tuners_utils")
    vllm = pytest.importorskip("vllm.lora.peft_helper")
    modules = list(linear_modules(resolve_base("tiny")))
    modules += [name.replace("model.layers", "transformer.h") for name in modules[:14]]
    names = [
        "q_proj",
        "self_attn.k_proj",
        "layers.1.mlp.up_proj",
        "model.layers.2.self_attn.v_proj",
        "gate_proj",
        "h.0",
    ]
    random = Random(0)
    for _ in range(500):
        layers = random.choice([None, [], 0, 1, [0, 2]])
        where = {
            "target_modules": random.sample(names, random.randint(1, 4)),
            "exclude_modules": random.choice([None, [], random.sample(names, 2)]),
            "layers_to_transform": layers,
            "layers_pattern": None if layers is None else random.choice([None, [], "", "layers", ["h", "layers"]]),
        }
        known = peft.LoraConfig(r=4, **where)
        found = [(m, tuners.check_target_module_exists(known, m)) for m in modules]
        expected = [m for m, hit in found if hit and not isinstance(hit, tuners._ExcludedModule)]
        assert modules_wanted(where, modules) == expected, where
        numbers = {
            "r": random.randint(1, 64),
            "lora_alpha": random.choice([1, 0.5, 32]),
            "use_rslora": random.choice([True, False]),
            "rank_pattern": {random.choice([*names, "^model.layers.0.mlp.up_proj"]): random.randint(1, 64)},
            "alpha_pattern": {name: random.randint(1, 64) for name in random.sample(names, 2)},
        }
        helper = vllm.PEFTHelper.from_dict({**numbers, "target_modules": names})
        for m in modules:
            assert helper.get_rank_and_scaling(m) == (module_rank(numbers, m), module_scale(numbers, m)), numbers
