"""Checks an adapter's tensors: their names and shapes against the base, and their values. Each cause is told once."""

from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from serve.adapter_files.tensor_names import TENSOR, ModuleNames, foreign_part, spelled
from serve.adapter_files.weights_file import ITEM_BYTES, Header, measure
from serve.rollout.validate_config import module_rank, module_scale, modules_wanted, ranks_readable
from understudy.bases import Base, weight_shapes
from understudy.errors import BaseModelError

LARGEST = 65504.0
"""Largest value of float16. The engine multiplies lora_B by lora_alpha / rank in its own type, and what becomes
infinite there corrupts every other answer, too."""

EMBEDDINGS = ("embed_tokens", "lm_head", "wte", "embed_in", "embed_out")

Modules = Mapping[str, tuple[int, int]]
"""(outputs, inputs) of the base's linear layers by full name."""

SEVERAL = {
    "shape": "have another shape than the rank and this base need",
    "type": "have a type that is not served",
    "broken": "have values that are NaN or infinite",
    "overflow": "have values that overflow in the engine",
    "strange": "are not LoRA matrices of modules",
    "embeddings": "are for embeddings or the output layer",
    "absent": "are for modules that the base does not have",
}
"""What is wrong, said of several tensors."""


class FoundProblems:
    """Tensors by what is wrong with them, so that a cause is told once however many tensors it spoils."""

    def __init__(self) -> None:
        self._found: dict[str, list[str]] = {}

    def add(self, kind: str, line: str) -> None:
        """Notes one tensor of a kind in SEVERAL; `line` says it of this tensor alone."""
        self._found.setdefault(kind, []).append(line)

    def lines(self) -> list[str]:
        """One line a kind, with the first tensor as the example."""
        return [
            lines[0] if len(lines) == 1 else f"{len(lines)} tensors {SEVERAL[kind]}; the first: {lines[0]}"
            for kind, lines in self._found.items()
        ]


def check_tensors(header: Header, config: dict[str, Any], modules: Modules | None) -> list[str]:
    """Lists names and shapes that disagree with the base's own modules or with the configuration.

    `modules` are the base's; None where the base is not here: only what needs no base is then checked.
    """
    if not header:
        return ["it has no tensors"]
    named = [name for name in header if _fits(name, modules)]
    strange = [name for name in header if name not in set(named)]
    problems = [*_check_strange(strange, modules), *_check_shapes(header, named, config, modules)]
    if strange:  # what they are for is not known, so nothing can be said to be missing
        return problems
    sides: dict[str, set[str]] = defaultdict(set)
    for match in filter(None, map(TENSOR.fullmatch, named)):
        sides[match["module"]].add(match["side"])
    problems += [f"module {m} has only lora_{''.join(found)}" for m, found in sides.items() if len(found) < 2]
    return problems + (_check_coverage(set(sides), config, list(modules)) if modules is not None else [])


def check_values(path: Path, header: Header, start: int, config: dict[str, Any]) -> list[str]:
    """Lists tensors with NaN or infinite values, or values that become infinite in the engine."""
    found, readable = FoundProblems(), ranks_readable(config)
    with path.open("rb") as file:
        for name, info in header.items():
            if info["dtype"] not in ITEM_BYTES:
                remedy = "; `understudy adopt` converts it" if info["dtype"] == "F64" else ""
                found.add("type", f"tensor {name} has type {info['dtype']}; F32, F16 or BF16 can be served{remedy}")
                continue
            broken, largest = measure(file, start, info)
            match = TENSOR.fullmatch(name)
            scaled = readable and match is not None and match["side"] == "B"
            scale = module_scale(config, match["module"]) if match and scaled else 1.0
            if broken:
                found.add("broken", f"tensor {name} has {broken} values that are NaN or infinite")
            elif largest * max(scale, 1.0) > LARGEST:
                line = f"tensor {name} has values that overflow in the engine: {largest:.3g} times {scale:g}"
                found.add("overflow", line)
    return found.lines()


def linear_modules(base: Base) -> dict[str, tuple[int, int]]:
    """Returns (outputs, inputs) of the base's linear layers by full name, without embeddings.

    LoRA on embeddings and on the output layer is refused: vLLM serves it for some architectures only, and where
    the two are tied (as in `tiny` and `smollm2`) PEFT and vLLM mean different things by it.

    Raises:
        BaseModelError: the base is not here, or its own weights are stored quantised, so that shapes cannot be read.
    """
    shapes = weight_shapes(base)
    if any(".quant_state." in name or name.endswith(".qweight") for name in shapes):
        raise BaseModelError(f"{base.name} is stored quantised, its modules have no shapes; serve the original instead")
    return {
        name.removesuffix(".weight"): (shape[0], shape[1])
        for name, shape in shapes.items()
        if name.endswith(".weight") and len(shape) == 2 and name.split(".")[-2] not in EMBEDDINGS
    }


def _fits(name: str, modules: Modules | None) -> bool:
    """Whether the name is that of a LoRA matrix of a module of the base, in PEFT's own form."""
    match = TENSOR.fullmatch(name)
    return match is not None and (modules is None or match["module"] in modules)


def _check_strange(names: list[str], modules: Modules | None) -> list[str]:
    """Says why tensors are not taken: spelled otherwise (which can be mended), no LoRA, or for absent modules."""
    if modules is not None:
        meant = ModuleNames(modules).renaming(names)
    else:
        meant = {name: name for name in names if spelled(name)}
    problems = []
    if mended := [name for name in names if name in meant]:
        count = f"{len(mended)} tensors are" if len(mended) > 1 else "a tensor is"
        cause = foreign_part(mended)
        problems.append(
            f"{count} not named as PEFT names them ({cause}), such as {mended[0]}; `understudy adopt` mends it"
        )
    found, layers = FoundProblems(), _layers(modules or ())
    for name in names:
        if name not in meant:
            found.add(*_why_strange(name, layers))
    return problems + found.lines()


def _why_strange(name: str, layers: int) -> tuple[str, str]:
    parts = spelled(name)
    if parts is None:
        return "strange", f"tensor {name} is not a LoRA matrix of a module"
    if parts.module.split(".")[-1] in EMBEDDINGS:
        no = "LoRA on embeddings or the output layer is not served; train the linear layers (all-linear)"
        return "embeddings", f"tensor {name}: {no}"
    beyond = f" (it has {layers} layers)" if layers and _layers([parts.module]) > layers else ""
    return "absent", f"tensor {name}: the base has no module {parts.module}{beyond}"


def _layers(modules: Any) -> int:
    """Number of layers by the modules' names."""
    return max((1 + int(part) for module in modules for part in module.split(".") if part.isdecimal()), default=0)


def _check_shapes(header: Header, names: list[str], config: dict[str, Any], modules: Modules | None) -> list[str]:
    if not ranks_readable(config):
        return []
    found = FoundProblems()
    for name, match in ((name, TENSOR.fullmatch(name)) for name in names):
        if match is None:
            continue
        rank, shape = module_rank(config, match["module"]), header[name]["shape"]
        if modules is None:
            if len(shape) != 2 or shape[0 if match["side"] == "A" else 1] != rank:
                found.add("shape", f"tensor {name} has shape {shape}, which is not of rank {rank}")
            continue
        rows, columns = modules[match["module"]]
        expected = [rank, columns] if match["side"] == "A" else [rows, rank]
        if shape != expected:
            found.add("shape", f"tensor {name} has shape {shape}; rank {rank} on this base needs {expected}")
    return found.lines()


def _check_coverage(found: set[str], config: dict[str, Any], modules: list[str]) -> list[str]:
    """Lists where the configuration names other modules than the tensors."""
    wanted = modules_wanted(config, modules)
    if wanted is None or not found:
        return []
    extra, missing = sorted(found - set(wanted)), sorted(set(wanted) - found)
    problems = []
    if extra:
        problems.append(f"target_modules does not cover {_some(extra)}, but there are tensors for it")
    if missing:
        problems.append(f"target_modules covers {_some(missing)}, but there are no tensors for it")
    return problems


def _some(names: list[str]) -> str:
    return names[0] + (f" and {len(names) - 1} more" if len(names) > 1 else "")
