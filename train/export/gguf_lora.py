"""PEFT adapters as GGUF files, and back."""

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import gguf
import numpy as np
from safetensors.numpy import save_file

from train.export.gguf_tensors import close, gguf_name, module_names, read_tensors, reordered, restored
from understudy.errors import AdapterError

PEFT_NAME = re.compile(r"base_model\.model\.(.+)\.lora_([AB])\.weight")
GGUF_NAME = re.compile(r"(.+)\.weight\.lora_([ab])")
PLAIN = ("use_dora", "rank_pattern", "alpha_pattern", "modules_to_save", "fan_in_fan_out")
"""Settings of PEFT that a GGUF adapter cannot carry."""


def write_lora(adapter: Path, base: Mapping[str, Any], out: Path, *, half: bool = True) -> None:
    """Writes a PEFT adapter folder as a GGUF adapter.

    Args:
        base: config.json of the base.
        half: matrices in float16, else in float32.

    Raises:
        AdapterError: the adapter uses something that GGUF adapters cannot carry.
    """
    config = json.loads((adapter / "adapter_config.json").read_text(encoding="utf-8"))
    used = [name for name in PLAIN if config.get(name)]
    if used:
        raise AdapterError(f"{adapter.name}: {', '.join(used)}: a GGUF adapter cannot carry that")
    scale = float(config["lora_alpha"])
    if config.get("use_rslora"):  # llama.cpp divides alpha by the rank, rsLoRA by its root
        scale *= float(config["r"]) ** 0.5
    writer = gguf.GGUFWriter(out, "llama")
    writer.add_type("adapter")
    writer.add_string("adapter.type", "lora")
    writer.add_float32("adapter.lora.alpha", scale)
    layers = int(base["num_hidden_layers"])
    for name, values in read_tensors(adapter / "adapter_model.safetensors"):
        found = PEFT_NAME.fullmatch(name)
        if found is None:
            raise AdapterError(f"{adapter.name}: {name} is no LoRA matrix")
        module, part = found.groups()
        rows = reordered(module, values, base) if part == "B" else values
        kind = np.float16 if half else np.float32
        writer.add_tensor(f"{gguf_name(module, layers)}.weight.lora_{part.lower()}", rows.astype(kind))
    close(writer)


def read_lora(file: Path, base: Mapping[str, Any], base_name: str, out: Path) -> None:
    """Writes a GGUF adapter of a Llama as a PEFT adapter folder.

    Raises:
        AdapterError: the file is no LoRA adapter, or its matrices do not fit the base.
    """
    try:
        reader = gguf.GGUFReader(file)
    except (OSError, ValueError, KeyError, IndexError) as error:
        raise AdapterError(f"{file.name}: not a GGUF file ({error})") from None
    kind, type_, alpha = (_field(reader, name) for name in ("general.type", "adapter.type", "adapter.lora.alpha"))
    if (kind, type_) != ("adapter", "lora") or alpha is None:
        raise AdapterError(f"{file.name}: a GGUF {kind or 'file without a type'}, not a LoRA adapter")
    modules = module_names(int(base["num_hidden_layers"]))
    tensors: dict[str, np.ndarray] = {}
    for tensor in reader.tensors:
        found = GGUF_NAME.fullmatch(tensor.name)
        module = modules.get(found[1]) if found else None
        if found is None or module is None:
            raise AdapterError(f"{file.name}: {tensor.name} is no LoRA matrix of {base_name}")
        values = gguf.quants.dequantize(tensor.data, tensor.tensor_type).astype(np.float32)
        part = found[2].upper()
        rows = restored(module, values, base) if part == "B" else values
        tensors[f"base_model.model.{module}.lora_{part}.weight"] = np.ascontiguousarray(rows)
    ranks = {values.shape[0] for name, values in tensors.items() if ".lora_A." in name}
    if len(ranks) != 1:
        raise AdapterError(f"{file.name}: matrices of ranks {sorted(ranks)}; one rank is needed")
    out.mkdir(parents=True, exist_ok=True)
    save_file(tensors, out / "adapter_model.safetensors", metadata={"format": "pt"})
    settings = {
        "peft_type": "LORA",
        "task_type": "CAUSAL_LM",
        "base_model_name_or_path": base_name,
        "r": ranks.pop(),
        "lora_alpha": alpha,
        "lora_dropout": 0.0,
        "bias": "none",
        "inference_mode": True,
        "target_modules": _targets(
            {one.removeprefix("base_model.model.").split(".lora_")[0] for one in tensors}, modules
        ),
    }
    (out / "adapter_config.json").write_text(json.dumps(settings, indent=2) + "\n", encoding="utf-8")


def _targets(covered: set[str], modules: Mapping[str, str]) -> list[str]:
    """Modules as PEFT's configuration names them: by kind where all of a kind are covered, else by their full names."""
    partly = {module.rpartition(".")[2] for module in modules.values() if module not in covered}
    kinds = {module: module.rpartition(".")[2] for module in covered}
    return sorted({module if kind in partly else kind for module, kind in kinds.items()})


def _field(reader: gguf.GGUFReader, name: str) -> Any:
    field = reader.get_field(name)
    return None if field is None else field.contents()
