"""Static checks of an adapter before any engine sees it: vLLM's own answer to a bad one decides nothing.

vLLM 0.32 loads adapters with NaN (which then spoil every other answer), with the wrong rank, for another base,
or with layers that do not exist, and says 200 each time. The parts: validate_config (what the settings say),
validate_base (which base it belongs to), validate_weights (what the tensors are).
"""

from pathlib import Path
from typing import Any

from serve.rollout.validate_base import check_base
from serve.rollout.validate_config import check_config, read_strictly
from serve.rollout.validate_weights import check_tensors, check_values, read_header
from understudy.bases import Base
from understudy.registry.adapters import CONFIG, WEIGHTS, in_hub_cache

MAX_LISTED = 50
"""Problems that are listed one by one; a file with every name wrong has thousands."""

MAX_LINE = 400


def validate(folder: Path, base: Base, *, max_rank: int) -> list[str]:
    """Lists everything that keeps the adapter in `folder` from being served on `base`; empty when nothing does.

    Never raises, whatever the folder holds. Each problem is one printable line. Other files beside the two are
    ignored: pushing leaves them behind, and vLLM reads adapter_model.bin only where there is no safetensors.
    """
    problems = _check_files(folder)
    if not problems:
        config, problems = _read_config(folder)
        if config is not None:
            problems = [*check_config(config, max_rank), *check_base(config, base)]
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
        missing = [name for name in (CONFIG, WEIGHTS) if not (folder / name).is_file()]
        if missing:
            pickled = " (adapter_model.bin is a pickle and is never read)" if any(folder.glob("*.bin")) else ""
            return [
                f"{folder}: no {' and no '.join(missing)} there{pickled}; point at a PEFT adapter saved as safetensors"
            ]
        return [
            f"{name} is a link to another place; put the file itself there"
            for name in (CONFIG, WEIGHTS)
            if (folder / name).is_symlink() and not in_hub_cache(folder / name)
        ]
    except (OSError, ValueError, RuntimeError) as error:
        return [f"{folder} cannot be read: {error}"]


def _read_config(folder: Path) -> tuple[dict[str, Any] | None, list[str]]:
    try:
        return read_strictly(folder), []
    except (OSError, ValueError) as error:
        return None, [f"{CONFIG}: {error}"]


def _check_weights(path: Path, config: dict[str, Any], base: Base) -> list[str]:
    try:
        header, start = read_header(path)
        return [*check_tensors(header, config, base), *check_values(path, header, start, config)]
    except (OSError, ValueError) as error:
        return [f"{WEIGHTS}: {error}"]


def _line(text: str) -> str:
    """Makes a printable line of bounded length: names in a file may hold anything."""
    shown = "".join(c if c.isprintable() else f"\\u{ord(c):04x}" for c in text[:MAX_LINE])
    return shown + ("…" if len(text) > MAX_LINE else "")
