"""Static checks of an adapter before any engine sees it: vLLM's own answer to a bad one decides nothing.

vLLM 0.32 loads adapters with NaN (which then spoil every other answer), with the wrong rank, for another base,
or with layers that do not exist, and says 200 each time. The parts: validate_config (what the settings say),
validate_base (which base it belongs to), validate_weights (what the tensors are).
"""

from pathlib import Path
from typing import Any

from serve.adapter_files.weights_file import read_header
from serve.rollout.validate_base import check_base
from serve.rollout.validate_config import check_config, read_strictly
from serve.rollout.validate_weights import Modules, check_tensors, check_values, linear_modules
from understudy.bases import Base
from understudy.errors import BaseModelError
from understudy.registry.adapters import CONFIG, WEIGHTS, in_hub_cache
from understudy.registry.found_files import missing_files

MAX_LISTED = 50
"""Problems that are listed one by one; a file with every name wrong has thousands."""

MAX_LINE = 400


def validate(folder: Path, base: Base | None, *, max_rank: int, base_is: bool = False) -> list[str]:
    """Lists everything that keeps the adapter in `folder` from being served on `base`; empty when nothing does.

    Never raises, whatever the folder holds. Each problem is one printable line. Other files beside the two are
    ignored: pushing leaves them behind, and vLLM reads adapter_model.bin only where there is no safetensors.

    Args:
        base: None where it is not here: only what needs no base is then checked.
        base_is: the adapter's own name for its base means `base`, whatever it says; the probe has to prove that.
    """
    problems = _check_files(folder)
    config, unreadable = _read_config(folder) if _is_file(folder / CONFIG) else (None, [])
    problems += unreadable
    if config is not None:
        problems += [*check_config(config, max_rank), *(check_base(config, base) if base and not base_is else [])]
        if _is_file(folder / WEIGHTS):
            problems += _check_weights(folder / WEIGHTS, config, base)
    listed = [_line(problem) for problem in problems[:MAX_LISTED]]
    return listed + ([f"and {len(problems) - MAX_LISTED} more problems"] if len(problems) > MAX_LISTED else [])


def adapter_summary(folder: Path) -> dict[str, Any]:
    """Rank, base and size of an adapter as it describes itself; None where it does not."""
    summary: dict[str, Any] = {"rank": None, "base": None, "size": None}
    try:
        summary["size"] = (folder / WEIGHTS).stat().st_size
        config = read_strictly(folder)
    except (OSError, ValueError):
        return summary
    return summary | {"rank": config.get("r"), "base": config.get("base_model_name_or_path")}


def _check_files(folder: Path) -> list[str]:
    try:
        if missing := missing_files(folder):
            return [missing]
        return [
            f"{name} is a link to another place; put the file itself there"
            for name in (CONFIG, WEIGHTS)
            if not _is_file(folder / name)
        ]
    except (OSError, ValueError, RuntimeError) as error:
        return [f"{folder} cannot be read: {error}"]


def _is_file(path: Path) -> bool:
    """Whether it is a file of this folder; links out of it are never followed."""
    try:
        return path.is_file() and (not path.is_symlink() or in_hub_cache(path))
    except (OSError, ValueError, RuntimeError):
        return False


def _read_config(folder: Path) -> tuple[dict[str, Any] | None, list[str]]:
    try:
        return read_strictly(folder), []
    except (OSError, ValueError) as error:
        return None, [f"{CONFIG}: {error}"]


def _check_weights(path: Path, config: dict[str, Any], base: Base | None) -> list[str]:
    problems: list[str] = []
    modules: Modules | None = None
    try:
        modules = linear_modules(base) if base else None
    except (BaseModelError, ValueError, OSError) as error:
        get = "" if base is None or base.local else f"get it with `hf download {base.name}`, or "
        problems.append(f"{error}; {get}give its folder with --base; what needs no base was checked")
    try:
        header, start = read_header(path)
        return [*problems, *check_tensors(header, config, modules), *check_values(path, header, start, config)]
    except (OSError, ValueError) as error:
        return [*problems, f"{WEIGHTS}: {error}"]


def _line(text: str) -> str:
    """Makes a printable line of bounded length: names in a file may hold anything."""
    shown = "".join(c if c.isprintable() else f"\\u{ord(c):04x}" for c in text[:MAX_LINE])
    return shown + ("…" if len(text) > MAX_LINE else "")
