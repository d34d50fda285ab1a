"""How a base wants to be sampled: what its generation_config.json says."""

import json
from pathlib import Path
from typing import Any

from understudy.bases.base import Base, pinned

SERVED = ("temperature", "top_p", "top_k", "min_p", "repetition_penalty")
"""What vLLM takes from a generation_config.json for requests that do not say it themselves."""


def base_sampling(base: Base) -> dict[str, float]:
    """The sampling parameters that a request without its own gets; empty where the base says nothing."""
    config = _generation_config(base)
    return {name: config[name] for name in SERVED if isinstance(config.get(name), (int, float))}


def _generation_config(base: Base) -> dict[str, Any]:
    path: Path | None = Path(base.location) / "generation_config.json"
    if not base.local:
        path = _from_hub(base)
    try:
        found = json.loads(path.read_text(encoding="utf-8")) if path else {}
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def _from_hub(base: Base) -> Path | None:
    from huggingface_hub import hf_hub_download

    try:
        return Path(hf_hub_download(base.location, "generation_config.json", **pinned(base)))
    except Exception:  # it has none, or the Hub is away; vLLM then has none either
        return None
