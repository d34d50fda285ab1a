"""Completes the settings of a third-party adapter from its tensors, where they leave no choice."""

from collections import Counter
from collections.abc import Mapping
from typing import Any

from serve.adapter_files.tensor_names import PREFIX, ModuleNames
from understudy.errors import AdapterError
from understudy.registry.adapters import CONFIG

PATTERNS = ("rank_pattern", "alpha_pattern")
MODULES = ("target_modules", "exclude_modules")


def complete_config(
    config: Mapping[str, Any],
    ranks: Mapping[str, int],
    names: ModuleNames,
    changes: list[str],
    *,
    base_is: str = "",
    alpha: float | None = None,
) -> dict[str, Any]:
    """Returns the settings with what was missing; `ranks` are those of the tensors by module.

    Raises:
        AdapterError: a setting is missing that the tensors do not tell (lora_alpha, the base), or a pattern's key means
            no module.
    """
    full = dict(config)
    _set_base(full, changes, base_is)
    if full.get("peft_type") is None:
        _fill(full, changes, "peft_type", "LORA")
    if full.get("task_type") is None and not full.get("auto_mapping"):
        full["task_type"] = "CAUSAL_LM"
    _rename_modules(full, names, changes)
    if full.get("r") is None and ranks:
        usual = Counter(ranks.values()).most_common(1)[0][0]
        _fill(full, changes, "r", usual)
        if others := {module: rank for module, rank in sorted(ranks.items()) if rank != usual}:
            _fill(full, changes, "rank_pattern", others)
    if full.get("target_modules") is None and ranks:
        _fill(full, changes, "target_modules", sorted(ranks))
    if full.get("lora_alpha") is None:
        if alpha is None:
            raise AdapterError(
                f"{CONFIG}: lora_alpha is missing, and the weights do not tell it; give the one that it was trained "
                "with: --alpha N"
            )
        _fill(full, changes, "lora_alpha", int(alpha) if alpha == int(alpha) else alpha)
    elif alpha is not None and alpha != full["lora_alpha"]:
        raise AdapterError(f"{CONFIG}: lora_alpha is {full['lora_alpha']!r}, not {alpha:g}; leave --alpha out")
    full.setdefault("bias", "none")
    return full


def _set_base(config: dict[str, Any], changes: list[str], base_is: str) -> None:
    named = config.get("base_model_name_or_path")
    if base_is and base_is != named:
        changes.append(f"set base_model_name_or_path to {base_is!r}, as --base-is says (it said {named!r})")
        config |= {"base_model_name_or_path": base_is, "revision": None}
    elif not named:
        raise AdapterError(f"{CONFIG}: it does not say which base it was trained on; say it with --base-is NAME")


def _rename_modules(config: dict[str, Any], names: ModuleNames, changes: list[str]) -> None:
    """Renames modules that settings name in full, as their tensors are. Raises AdapterError for one that means none."""
    for key in MODULES:
        if isinstance(config.get(key), list):
            found = [_named(names, name) for name in config[key]]
            _replace(config, changes, key, found)
    for key in PATTERNS:
        pattern = config.get(key)
        if not isinstance(pattern, dict):
            continue
        found = {_named(names, name): value for name, value in pattern.items()}
        if len(found) < len(pattern):
            raise AdapterError(f"{CONFIG}: {key} names a module twice")
        _replace(config, changes, key, found)


def _named(names: ModuleNames, name: Any) -> Any:
    """The module that a full name means; short names such as `q_proj`, and names that mean none, stay as they are."""
    if not isinstance(name, str) or not any(part.isdecimal() for part in name.split(".")):
        return name
    return names.meant(name.removeprefix("^").removeprefix(PREFIX)) or name


def _replace(config: dict[str, Any], changes: list[str], key: str, found: Any) -> None:
    if found != config[key]:
        changes.append(f"renamed modules in {key}")
        config[key] = found


def _fill(config: dict[str, Any], changes: list[str], key: str, value: Any) -> None:
    shown = f"{len(value)} modules" if isinstance(value, (list, dict)) else value
    changes.append(f"added {key} to {CONFIG}: {shown}")
    config[key] = value
