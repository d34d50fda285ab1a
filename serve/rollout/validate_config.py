"""Checks adapter_config.json field by field: what vLLM 0.32 serves, what it would serve wrongly, what does not matter.

Based on vLLM's `lora/peft_helper.py`, which reads a dozen fields and ignores the others, and PEFT 0.21's `LoraConfig`,
which defines them. A field that changes what the weights mean and that vLLM ignores is refused: vLLM would answer 200
and serve something other than what was trained.
"""

import json
import math
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

from understudy.registry.adapters import CONFIG

MAX_CONFIG_BYTES = 2**20
"""PEFT writes about 1 kB; an EVA rank_pattern of a large model stays under 100 kB."""

MAX_SCALE = 1000.0
"""Largest scale (lora_alpha / rank) of an update; usual ones are 0.5 to 4."""

NOT_SERVED = {
    "use_dora": "DoRA",
    "use_bdlora": "block-diagonal LoRA",
    "use_qalora": "QALoRA",
    "lora_bias": "a LoRA bias",
    "modules_to_save": "modules_to_save (whole layers beside the adapter)",
    "trainable_token_indices": "trained token embeddings",
    "layer_replication": "layer replication",
    "alora_invocation_tokens": "activated LoRA",
    "target_parameters": "LoRA on bare parameters (target_parameters)",
    # vLLM ignores the following and would serve plain LoRA instead.
    "arrow_config": "Arrow (a router over several adapters)",
    "kasa_config": "KaSA (it changes the base's weights)",
    "monteclora_config": "MonteCLoRA",
    "megatron_config": "LoRA on Megatron layers",
}
HARMLESS = {
    # Training only, or a note about the file.
    *("auto_mapping", "inference_mode", "peft_version", "lora_dropout", "runtime_config", "megatron_core"),
    *("ensure_weight_tying", "qalora_group_size", "fan_in_fan_out", "velora_config"),
    # Read by PEFT only together with the initialisation of the same name, which is checked by itself.
    *("loftq_config", "eva_config", "corda_config", "lora_ga_config"),
}
READ = {
    *("peft_type", "task_type", "base_model_name_or_path", "revision", "r", "lora_alpha", "bias", "use_rslora"),
    *("init_lora_weights", "rank_pattern", "alpha_pattern", "target_modules", "exclude_modules"),
    *("layers_to_transform", "layers_pattern"),
}
PLAIN_INIT = (True, False, None, "gaussian", "orthogonal", "eva", "mica")
"""Initialisations that leave the base as it is. PiSSA, OLoRA, CorDA, LoftQ and LoRA-GA train against a changed base;
PEFT writes True here when it converts them on saving."""

OTHER_TASKS = ("Classification", "QuestionAnswering", "Embedding", "Encoder", "MaskedLM", "MultipleChoice")
"""Endings of transformers' classes whose models do not write."""

MODULE_KEY = re.compile(r"\^?(?:\\\.|[\w.-])+")
"""Keys of patterns that are accepted: names. Other regular expressions could keep vLLM busy for ever."""


def read_strictly(folder: Path) -> dict[str, Any]:
    """Reads the configuration if every JSON reader would read it alike.

    Raises:
        ValueError: too large, not JSON, not an object, a name twice, NaN, or nested too deep.
    """
    if (folder / CONFIG).stat().st_size > MAX_CONFIG_BYTES:
        raise ValueError(f"larger than {MAX_CONFIG_BYTES:,} bytes; a PEFT configuration has about 1,000")
    config = strict_json((folder / CONFIG).read_bytes())
    if not isinstance(config, dict):
        raise ValueError(f"found a JSON {type(config).__name__}, not an object")
    return config


def strict_json(data: bytes) -> Any:
    """Parses JSON without duplicate names, NaN, or depth that overflows a reader. Raises ValueError."""
    try:
        return json.loads(data.decode("utf-8"), object_pairs_hook=_once, parse_constant=_no_constant)
    except UnicodeDecodeError as error:
        raise ValueError(f"not UTF-8: {error}") from None
    except json.JSONDecodeError as error:
        raise ValueError(f"not JSON: {error}") from None
    except RecursionError:
        raise ValueError("not JSON that can be read: nested too deep") from None


def check_config(config: dict[str, Any], max_rank: int) -> list[str]:
    """Lists what vLLM does not serve, or what cannot be interpreted."""
    problems = []
    if config.get("peft_type") != "LORA":
        problems.append(f"peft_type is {config.get('peft_type')!r}; only LORA can be served")
    problems += _check_task(config)
    if config.get("bias", "none") != "none":
        problems.append(f"bias is {config['bias']!r}; vLLM serves adapters without bias only")
    problems += [f"{what} is not served by vLLM" for key, what in NOT_SERVED.items() if config.get(key)]
    if not _in(config.get("init_lora_weights", True), PLAIN_INIT):
        problems.append(
            f"init_lora_weights is {config['init_lora_weights']!r}; convert the adapter to plain LoRA first "
            "(PEFT: save_pretrained(..., path_initial_model_for_weight_conversion=...))"
        )
    return [*problems, *_check_rank(config, max_rank), *_check_targets(config), *_check_unknown(config)]


def _check_task(config: dict[str, Any]) -> list[str]:
    """PEFT writes null for a model without a task, and its class into `auto_mapping`; vLLM reads neither."""
    if config.get("task_type") not in (None, "CAUSAL_LM"):
        return [f"task_type is {config['task_type']!r}; only CAUSAL_LM (or null) can be served"]
    mapping = config.get("auto_mapping")
    kind = mapping.get("base_model_class") if isinstance(mapping, dict) else None
    if isinstance(kind, str) and kind.endswith(OTHER_TASKS):
        return [f"auto_mapping says that it was trained on a {kind}; only language models that write can be served"]
    return []


def ranks_readable(config: dict[str, Any]) -> bool:
    """Whether `module_rank` and `module_scale` can be computed."""
    return not _check_numbers(config)


def module_rank(config: dict[str, Any], module: str) -> int:
    """The rank of one module: vLLM 0.32 honours rank_pattern by PEFT's rule (`get_rank_and_scaling`).

    A key matches a module whose name ends with it at a dot; the first match wins. The matrices of a fused layer
    (q, k, v) have slots of their own in vLLM, so they may differ in rank.
    """
    return _matched(config.get("rank_pattern"), module, config.get("r", 0))


def module_scale(config: dict[str, Any], module: str) -> float:
    """The factor by which vLLM multiplies lora_B when it loads the adapter; alpha_pattern is honoured too."""
    alpha = _matched(config.get("alpha_pattern"), module, config.get("lora_alpha", 0))
    return _scale(alpha, module_rank(config, module), config.get("use_rslora"))


def modules_wanted(config: dict[str, Any], modules: list[str]) -> list[str] | None:
    """Which of the base's modules the configuration names; None when it names them by a pattern.

    PEFT's rule (`check_target_module_exists`). A pattern is not run: it may be written to never end, vLLM does
    not look at it, and every tensor is checked against the base anyway.
    """
    targets, excluded = config.get("target_modules"), config.get("exclude_modules") or []
    if _check_targets(config) or not isinstance(targets, list) or not isinstance(excluded, list):
        return None
    named = [m for m in modules if _named(m, targets) and not _named(m, excluded)]
    layers = config.get("layers_to_transform")
    if layers is None or layers == []:
        return named
    wanted = set(layers if isinstance(layers, list) else [layers])
    return [m for m in named if m in targets or _layer(m, config.get("layers_pattern")) in wanted]


def _check_rank(config: dict[str, Any], max_rank: int) -> list[str]:
    if problems := _check_numbers(config):
        return problems
    ranks = [config["r"], *(config.get("rank_pattern") or {}).values()]
    alphas = [config["lora_alpha"], *(config.get("alpha_pattern") or {}).values()]
    if max(ranks) > max_rank:
        problems.append(
            f"rank {max(ranks)} is over the engine's maximum {max_rank}; raise UNDERSTUDY_MAX_LORA_RANK and restart"
        )
    scale = _scale(max(alphas), min(ranks), config.get("use_rslora"))
    if scale > MAX_SCALE:
        problems.append(
            f"lora_alpha {max(alphas)} at rank {min(ranks)} multiplies updates by {scale:.3g}, more than {MAX_SCALE:g}"
        )
    return problems


def _check_numbers(config: dict[str, Any]) -> list[str]:
    problems = [
        *_check_pattern(config, "rank_pattern", _is_rank, "a positive whole number"),
        *_check_pattern(config, "alpha_pattern", _is_alpha, "a positive number"),
    ]
    if not _is_rank(config.get("r")):
        problems.append(f"{CONFIG}: rank {config.get('r')!r} is not a positive whole number")
    if not _is_alpha(config.get("lora_alpha")):
        problems.append(f"{CONFIG}: lora_alpha {config.get('lora_alpha')!r} is not a positive number")
    if not _is_flag(config.get("use_rslora")):
        problems.append(f"{CONFIG}: use_rslora is {config['use_rslora']!r}, neither true nor false")
    return problems


def _check_pattern(config: dict[str, Any], field: str, fits: Callable[[Any], bool], kind: str) -> list[str]:
    pattern = config.get(field)
    if pattern is None:
        return []
    if not isinstance(pattern, dict):
        return [f"{CONFIG}: {field} is {pattern!r}, not an object of module names"]
    problems = [f"{CONFIG}: {field}[{k!r}] is {v!r}, not {kind}" for k, v in pattern.items() if not fits(v)]
    return problems + [
        f"{CONFIG}: {field} has the regular expression {key!r}; write out the names of the modules instead"
        for key in pattern
        if not MODULE_KEY.fullmatch(key)
    ]


def _check_targets(config: dict[str, Any]) -> list[str]:
    """Checks the fields that name modules: vLLM uses the tensors' names, so these must only be readable."""
    problems = []
    if not _is_names(config.get("target_modules")) or not config["target_modules"]:
        problems.append(f"{CONFIG}: target_modules is {config.get('target_modules')!r}; it must name modules")
    for field in ("exclude_modules", "layers_pattern"):
        if config.get(field) is not None and not _is_names(config[field]):
            problems.append(f"{CONFIG}: {field} is {config[field]!r}, not a list of names")
    layers = config.get("layers_to_transform")
    if layers is not None and not all(_is_layer(n) for n in (layers if isinstance(layers, list) else [layers])):
        problems.append(f"{CONFIG}: layers_to_transform is {layers!r}, not a list of layer numbers")
    return problems


def _check_unknown(config: dict[str, Any]) -> list[str]:
    """Refuses unknown fields named use_... or ..._config, by which PEFT switches its variants on."""
    known = READ | HARMLESS | NOT_SERVED.keys()
    return [
        f"{CONFIG}: {key} is set, a variant of LoRA that is not known to be served"
        for key, value in config.items()
        if value and key not in known and (key.startswith("use_") or key.endswith("_config"))
    ]


def _scale(alpha: float, rank: int, rslora: object) -> float:
    return alpha / (math.sqrt(rank) if rslora else rank)


def _matched(pattern: Any, module: str, default: Any) -> Any:
    return next((value for key, value in (pattern or {}).items() if re.match(rf"(.*\.)?({key})$", module)), default)


def _named(module: str, names: list[str]) -> bool:
    return any(module == name or module.endswith(f".{name}") for name in names)


def _layer(module: str, pattern: Any) -> int | None:
    """The first number in a module's name that follows one of the names in `pattern`, or any name."""
    heads = [pattern] if isinstance(pattern, str) and pattern else pattern or []
    parts = module.split(".")
    # PEFT requires a part before the head when no pattern is given.
    places = range(2 if not heads else 1, len(parts) - 1)
    return next((int(parts[i]) for i in places if parts[i].isdecimal() and (not heads or parts[i - 1] in heads)), None)


def _is_rank(value: Any) -> bool:
    return type(value) is int and 1 <= value < 2**31


def _is_alpha(value: Any) -> bool:
    return type(value) in (int, float) and 0 < value < 2**31


def _is_layer(value: Any) -> bool:
    return type(value) is int and 0 <= value < 2**31


def _is_flag(value: Any) -> bool:
    return value is None or type(value) is bool


def _is_names(value: Any) -> bool:
    return isinstance(value, str) or (isinstance(value, list) and all(isinstance(v, str) for v in value))


def _in(value: Any, allowed: tuple) -> bool:
    """Membership by type and value: 1 is not True."""
    return any(type(value) is type(a) and value == a for a in allowed)


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"the name {twice!r} occurs twice; readers differ in which one counts")
    return found


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"found {name}, which is not JSON")
