"""How tools spell a LoRA matrix, and its name in PEFT's own form where only one can be meant."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

PREFIX = "base_model.model."
TENSOR = re.compile(r"base_model\.model\.(?P<module>.+)\.lora_(?P<side>[AB])\.weight")
"""PEFT's own form, the only one that vLLM reads."""

SPELLING = re.compile(
    r"(?P<module>.+?)\.(?:lora_|lora_linear_layer\.)(?P<side>A|B|a|b|down|up)"
    r"(?:\.(?P<adapter>(?!weight$|bias$)\w+))?(?:\.weight)?"
)
"""`….lora_A.default.weight` (a module's own state), `….lora_A`, `….lora_down.weight` (diffusers), `….lora_a.weight`."""

SIDES = {"A": "A", "B": "B", "a": "A", "b": "B", "down": "A", "up": "B"}
WRAPPERS = frozenset({"_orig_mod", "_fsdp_wrapped_module", "_checkpoint_wrapped_module", "module", "base_layer"})
"""Parts that torch.compile, FSDP, activation checkpoints, DDP and PEFT itself put around a module, anywhere."""

HEADS = frozenset({"base_model", "model", "language_model", "text_model", "transformer", "llm", "decoder", "gpt_neox"})
"""Parts before the layers that name the text model only, so that they may differ or be missing."""

WHOSE = {
    "_orig_mod": "torch.compile",
    "_fsdp_wrapped_module": "FSDP",
    "_checkpoint_wrapped_module": "activation checkpoints",
    "module": "DDP",
    "language_model": "a model of text and images",
}


@dataclass(frozen=True)
class Spelled:
    """A tensor's name, taken apart."""

    module: str
    side: str
    """A or B."""
    adapter: str
    """The adapter's own name within PEFT, such as `default`; empty where it is not in the tensor's name."""


def spelled(name: str) -> Spelled | None:
    """Takes the name of a LoRA matrix apart, however it is spelled; None for other tensors."""
    if match := TENSOR.fullmatch(name):
        return Spelled(match["module"], match["side"], "")
    match = SPELLING.fullmatch(name)
    if match is None:
        return None
    return Spelled(match["module"].removeprefix(PREFIX), SIDES[match["side"]], match["adapter"] or "")


class ModuleNames:
    """The base's modules, found by whatever prefix a tool has put before them."""

    def __init__(self, modules: Iterable[str]) -> None:
        self._modules = frozenset(modules)
        self._cores: dict[str, list[str]] = {}
        for module in self._modules:
            head, core = _parted(module)
            if core and head <= HEADS:
                self._cores.setdefault(core, []).append(module)

    def meant(self, module: str) -> str | None:
        """The one module of the base that is meant; None where no module or several fit."""
        if module in self._modules:
            return module
        head, core = _parted(module)
        found = self._cores.get(core, []) if core and head <= HEADS else []
        return found[0] if len(found) == 1 else None

    def renamed(self, name: str) -> str | None:
        """A tensor's name in PEFT's own form; None where it is no LoRA matrix of a module of the base."""
        parts = spelled(name)
        module = self.meant(parts.module) if parts else None
        return f"{PREFIX}{module}.lora_{parts.side}.weight" if parts and module else None

    def renaming(self, names: Iterable[str]) -> Mapping[str, str]:
        """New names for those that are spelled otherwise; empty where two would become one."""
        wanted = {name: self.renamed(name) for name in names}
        found = [new for new in wanted.values() if new]
        if len(set(found)) < len(found):
            return {}
        return {name: new for name, new in wanted.items() if new and new != name}


def foreign_part(names: Iterable[str]) -> str:
    """What the names have in common that PEFT's own do not have, in words: the cause, told once."""
    name = next(iter(names))
    parts = spelled(name)
    if parts is None:
        return "names of another tool"
    for part in parts.module.split("."):
        if part in WHOSE:
            return f"the part {part + '.'!r} of {WHOSE[part]}"
    if parts.module.startswith("base_model."):
        return "the prefix 'base_model.model.' twice"
    if parts.adapter:
        return f"the adapter's own name {parts.adapter!r}"
    return "another tool's spelling" if not name.startswith(PREFIX) else "a foreign prefix"


def _parted(module: str) -> tuple[frozenset[str], str]:
    """The parts before the layers, without wrappers, and the rest from `layers.0` on; both empty without a number."""
    parts = [part for part in module.split(".") if part not in WRAPPERS]
    number = next((n for n, part in enumerate(parts) if part.isdecimal()), 0)
    return (frozenset(parts[: number - 1]), ".".join(parts[number - 1 :])) if number else (frozenset(), "")
