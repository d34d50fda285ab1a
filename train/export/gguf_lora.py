"""PEFT adapters as GGUF files, and back."""

import json
import math
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import gguf
import numpy as np
from safetensors.numpy import save_file

from train.export.gguf_tensors import (
    architecture_of,
    close,
    gguf_name,
    matrix_shapes,
    module_names,
    read_tensors,
    reordered,
    restored,
)
from understudy.errors import AdapterError

PEFT_NAME = re.compile(r"base_model\.model\.(.+)\.lora_([AB])\.weight")
GGUF_NAME = re.compile(r"(.+)\.weight\.lora_([ab])")
PLAIN = ("use_dora", "rank_pattern", "alpha_pattern", "modules_to_save", "fan_in_fan_out")
"""Settings of PEFT that a GGUF adapter cannot carry."""
LLAMA = "llama"
"""The architecture whose query and key rows llama.cpp reorders; in files of others they are as they were."""
LLAMAS = ("LlamaForCausalLM", "MistralForCausalLM")
"""Models of transformers that llama.cpp writes as LLAMA (`LlamaModel` in its conversion)."""


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
    writer = gguf.GGUFWriter(out, LLAMA)
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


def read_lora(file: Path, base: Mapping[str, Any], base_name: str, out: Path, *, alpha: float | None = None) -> None:
    """Writes a GGUF adapter of a Llama as a PEFT adapter folder.

    Args:
        base: config.json of the base.
        alpha: the lora_alpha that it was trained with, where the file does not say it.

    Raises:
        AdapterError: the file is no LoRA adapter of a Llama, does not fit the base, or says another alpha or none.
    """
    reader = _opened(file)
    _require_llama(reader, file.name, base, base_name)
    alpha = _alpha(_field(reader, "adapter.lora.alpha"), alpha, file.name)
    names, shapes = module_names(int(base["num_hidden_layers"])), matrix_shapes(base)
    tensors: dict[str, np.ndarray] = {}
    for tensor in reader.tensors:
        module, part = _place(tensor.name, names, file.name, base_name)
        values = _fitting(tensor, shapes[_kind(module)], part, file.name, base_name)
        rows = restored(module, values, base) if part == "B" else values
        tensors[f"base_model.model.{module}.lora_{part}.weight"] = np.ascontiguousarray(rows)
    rank = _rank(tensors, file.name)
    out.mkdir(parents=True, exist_ok=True)
    save_file(tensors, out / "adapter_model.safetensors", metadata={"format": "pt"})
    settings = {
        "peft_type": "LORA",
        "task_type": "CAUSAL_LM",
        "base_model_name_or_path": base_name,
        "r": rank,
        "lora_alpha": alpha,
        "lora_dropout": 0.0,
        "bias": "none",
        "inference_mode": True,
        "target_modules": _targets(
            {one.removeprefix("base_model.model.").split(".lora_")[0] for one in tensors}, names
        ),
    }
    (out / "adapter_config.json").write_text(json.dumps(settings, indent=2) + "\n", encoding="utf-8")


def _opened(file: Path) -> gguf.GGUFReader:
    """Raises AdapterError: the file is no GGUF file, or no LoRA adapter."""
    try:
        reader = gguf.GGUFReader(file)
        kind, type_ = _field(reader, "general.type"), _field(reader, "adapter.type")
    except (OSError, ValueError, KeyError, IndexError, OverflowError, TypeError) as error:
        raise AdapterError(f"{file.name}: not a GGUF file ({error})") from None
    if (kind, type_) != ("adapter", "lora"):
        raise AdapterError(f"{file.name}: a GGUF {kind or 'file without a type'}, not a LoRA adapter")
    return reader


def _require_llama(reader: gguf.GGUFReader, file: str, base: Mapping[str, Any], base_name: str) -> None:
    """Raises AdapterError: the file or the base is of an architecture whose rows may have another order."""
    made_for, kind = _field(reader, "general.architecture"), architecture_of(base)
    if made_for != LLAMA:
        raise AdapterError(
            f"{file}: a LoRA adapter of the architecture {made_for or 'none'}; only those of {LLAMA} can be adopted as "
            "GGUF: adopt the PEFT folder that it was made from"
        )
    if kind not in LLAMAS:
        raise AdapterError(f"{file}: made for a Llama, and {base_name} is a {kind}; name its base with --base")


def _alpha(said: Any, given: float | None, file: str) -> float:
    """The file's own lora_alpha, or the one that is given where it says none (or 0, which llama.cpp takes for none)."""
    if said is not None and not (isinstance(said, (int, float)) and math.isfinite(said)):
        raise AdapterError(f"{file}: its adapter.lora.alpha is {str(said)[:40]!r}; a number is needed")
    if not said:
        if given is None:
            raise AdapterError(f"{file}: it does not say its alpha; give the one that it was trained with: --alpha N")
        return given
    if given is not None and not math.isclose(said, given, rel_tol=1e-6):  # the file has a float32
        raise AdapterError(f"{file}: its alpha is {said:g}, not {given:g}; leave --alpha out")
    return float(said)


def _place(name: str, names: Mapping[str, str], file: str, base_name: str) -> tuple[str, str]:
    """transformers' module of a matrix, and A or B. Embeddings, whose matrices are turned, are not covered."""
    found = GGUF_NAME.fullmatch(name)
    module = names.get(found[1]) if found else None
    if found is None or module is None or _kind(module) == "embed_tokens":
        raise AdapterError(f"{file}: {name} is no LoRA matrix of a layer or the head of {base_name}")
    return module, found[2].upper()


def _fitting(tensor: gguf.ReaderTensor, shape: tuple[int, int], part: str, file: str, base_name: str) -> np.ndarray:
    """A matrix's values, whose outer side must be that of the base's matrix of this `shape`."""
    try:
        values = np.atleast_2d(gguf.quants.dequantize(tensor.data, tensor.tensor_type).astype(np.float32))
    except NotImplementedError:
        kind = tensor.tensor_type.name
        raise AdapterError(f"{file}: {tensor.name} is stored as {kind}; convert it to F32, F16 or BF16") from None
    side, word = (1, "columns") if part == "A" else (0, "rows")
    if values.ndim != 2 or values.shape[side] != shape[side]:
        found = "x".join(map(str, values.shape))
        raise AdapterError(
            f"{file}: {tensor.name} is {found}, and {base_name} needs {shape[side]} {word}; name the base that it was "
            "made for with --base"
        )
    return values


def _rank(tensors: Mapping[str, np.ndarray], file: str) -> int:
    """The one rank of all matrices. Raises AdapterError: there are several or none, or one of a pair is missing."""
    if not tensors:
        raise AdapterError(f"{file}: no LoRA matrices are in it")
    for name in tensors:
        other = name.replace(".lora_A.", ".lora_B.") if ".lora_A." in name else name.replace(".lora_B.", ".lora_A.")
        if other not in tensors:
            raise AdapterError(f"{file}: {name} is there, and {other} is missing")
    ranks = {values.shape[".lora_B." in name] for name, values in tensors.items()}
    if len(ranks) != 1:
        raise AdapterError(f"{file}: matrices of ranks {sorted(ranks)}; one rank is needed")
    return ranks.pop()


def _kind(module: str) -> str:
    return module.rpartition(".")[2]


def _targets(covered: set[str], modules: Mapping[str, str]) -> list[str]:
    """Modules as PEFT's configuration names them: by kind where all of a kind are covered, else by their full names."""
    partly = {_kind(module) for module in modules.values() if module not in covered}
    kinds = {module: _kind(module) for module in covered}
    return sorted({module if kind in partly else kind for module, kind in kinds.items()})


def _field(reader: gguf.GGUFReader, name: str) -> Any:
    """A field's value; None where it is absent or no text in UTF-8."""
    field = reader.get_field(name)
    try:
        return None if field is None else field.contents()
    except UnicodeDecodeError:
        return None
