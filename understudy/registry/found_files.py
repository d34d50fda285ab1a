"""Says what lies in a folder that has no adapter in the form that is served, and what to do about it."""

from collections.abc import Iterable
from pathlib import Path

CONFIG = "adapter_config.json"
WEIGHTS = "adapter_model.safetensors"
INDEX = f"{WEIGHTS}.index.json"
SHARDS = "adapter_model-*.safetensors"
PICKLES = ("*.bin", "*.pt", "*.pth", "*.ckpt")
SHOWN = 3


def missing_files(folder: Path) -> str:
    """Why `folder` cannot be an adapter as it is: which file is missing and what is there instead; empty if none is."""
    if folder.is_file():
        return f"{folder} is a file; {_of_file(folder)}"
    missing = [name for name in (CONFIG, WEIGHTS) if not (folder / name).is_file()]
    if not missing:
        return ""
    no = f"{folder}: no {' and no '.join(missing)} there"
    return f"{no}{_instead(folder, missing)}"


def shards(folder: Path) -> list[Path]:
    """The parts of an adapter whose weights are in several files, by name."""
    return sorted(p for p in folder.glob(SHARDS) if p.is_file())


def missing_parts(names: Iterable[str]) -> list[str]:
    """The files that names such as `adapter_model-00001-of-00003.safetensors` say are there and are not, sorted."""
    there = set(names)
    last = max(there).removesuffix(".safetensors").rpartition("-of-")[2]
    count = int(last) if last.isdecimal() else 0
    wanted = {f"adapter_model-{n:0{len(last)}}-of-{last}.safetensors" for n in range(1, min(count, 1000) + 1)}
    return sorted(wanted - there)


def _of_file(file: Path) -> str:
    if file.suffix == ".gguf":
        return f"`understudy adopt {file} --base NAME` writes it as a PEFT adapter"
    if file.name in (CONFIG, WEIGHTS):
        return "point at the folder that it is in"
    return "point at the folder of a PEFT adapter saved as safetensors"


def _instead(folder: Path, missing: list[str]) -> str:
    """What is there in place of the missing files, and the remedy."""
    if not folder.is_dir():
        return "; there is no such folder" if not folder.exists() else "; it is no folder"
    if WEIGHTS in missing and (parts := shards(folder)):
        joins = f"`understudy adopt {folder}` joins them"
        if lost := missing_parts(path.name for path in parts):
            return f"; of its weights {_some(parts)} is there and {lost[0]} is missing: fetch it, then {joins}"
        return f"; its weights are in {len(parts)} parts ({_some(parts)}): {joins}"
    if WEIGHTS in missing and (found := [p for kind in PICKLES for p in sorted(folder.glob(kind)) if p.is_file()]):
        return (
            f" ({_some(found)} {'is a pickle and is' if len(found) == 1 else 'are pickles and are'} never read); "
            "save it again as safetensors where it was trained: save_pretrained(…, safe_serialization=True)"
        )
    if ggufs := sorted(folder.glob("*.gguf")):
        return f"; {_some(ggufs)} is there: `understudy adopt {ggufs[0]} --base NAME` writes it as a PEFT adapter"
    if inner := sorted(p.parent for p in folder.glob(f"*/{CONFIG}")):
        return f"; there is an adapter in {_some(inner)}: point at that folder"
    if missing == [CONFIG]:
        return f", only {WEIGHTS}; `understudy adopt {folder} --alpha N --base-is NAME` writes one from the weights"
    others = sorted(p for p in folder.glob("*.safetensors") if p.is_file())
    if others and (folder / "config.json").is_file():
        return f"; {_some(others)} and config.json are a whole model, and an adapter is needed"
    if others:
        return f"; {_some(others)} is there: if that is the adapter, rename it to {WEIGHTS}"
    return "; point at a PEFT adapter saved as safetensors"


def _some(paths: list[Path]) -> str:
    names = ", ".join(path.name for path in paths[:SHOWN])
    return names + (f" and {len(paths) - SHOWN} more" if len(paths) > SHOWN else "")
