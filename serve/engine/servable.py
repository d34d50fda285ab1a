"""Checks that vLLM can serve a base with adapters, before an engine is started; each reason is one line."""

import json
import math
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from typing import Literal

import psutil

from serve.engine.vllm import installed_vllm
from understudy.bases import Base, pinned, read_model_config, weight_shapes
from understudy.bases.precision import serving_dtype
from understudy.errors import BaseModelError

LoraSupport = Literal["yes", "no", "unknown"]
"""Whether the installed vLLM serves an architecture with adapters; `unknown`: it does not know the architecture."""

ASK = """
import sys
from vllm.model_executor.models.interfaces import supports_lora
from vllm.model_executor.models.registry import ModelRegistry
model = ModelRegistry.models.get(sys.argv[1])
print("unknown" if model is None else "yes" if supports_lora(model.load_model_cls()) else "no")
"""
ASK_SECONDS = 120


def check_servable(base: Base, cache: Path, *, on_cpu: bool) -> None:
    """Refuses a base that would otherwise fail late, while vLLM loads it.

    `cache` is a folder that keeps the answers of vLLM.

    Raises:
        BaseModelError: it has no chat template, an architecture that vLLM does not serve with adapters, or too many
            weights for this machine's memory.
    """
    if not _has_chat_template(base):
        raise BaseModelError(
            f"base {base.name}: its tokenizer has no chat template, so prompts would be continued instead of answered; "
            "use its instruct or chat version, or give it one: python -m train.model.prepare --help"
        )
    check_architecture(base, cache)
    if on_cpu:
        _check_memory(base)


def check_architecture(base: Base, cache: Path) -> None:
    """Raises BaseModelError when the installed vLLM does not serve the base's architecture with adapters."""
    if base.shipped:
        return
    architectures = read_model_config(base).get("architectures")
    if not isinstance(architectures, list) or not architectures:
        raise BaseModelError(
            f"base {base.name}: config.json names no architecture; add it, such as "
            '"architectures": ["LlamaForCausalLM"], or use another base'
        )
    for name in architectures:
        answer = serves_adapters(str(name), cache)
        if answer == "no":
            raise BaseModelError(
                f"base {base.name}: vLLM {vllm_version()} serves {name} without adapters only; "
                "use a base of another architecture, such as Llama or Qwen"
            )
        if answer == "unknown":
            raise BaseModelError(f"base {base.name}: vLLM {vllm_version()} does not know the architecture {name}")


def serves_adapters(architecture: str, cache: Path) -> LoraSupport:
    """Asks the installed vLLM's own registry, once for each version, in a separate process."""
    file = cache / f"vllm-{vllm_version()}-adapters.json"
    try:
        known: dict[str, LoraSupport] = json.loads(file.read_text())
    except (OSError, ValueError):
        known = {}
    if architecture not in known:
        known[architecture] = _ask(architecture)
        with suppress(
            OSError
        ):  # a container's file system may be read-only; vLLM is then asked again at the next start
            cache.mkdir(parents=True, exist_ok=True)
            file.write_text(json.dumps(known, indent=2, sort_keys=True))
    return known[architecture]


def _ask(architecture: str) -> LoraSupport:
    command = [sys.executable, "-W", "ignore", "-c", ASK, architecture]
    done = subprocess.run(command, capture_output=True, text=True, timeout=ASK_SECONDS)
    answer = (done.stdout.split() or [""])[-1]
    if answer in ("yes", "no", "unknown"):
        return answer
    reason = (done.stderr.strip().splitlines() or ["nothing"])[-1]
    raise BaseModelError(f"vLLM does not say whether it serves {architecture} with adapters: {reason}")


def vllm_version() -> str | None:
    """The version of the installed vLLM, or None if it is not installed."""
    found = installed_vllm()
    return found[1] if found else None


def _has_chat_template(base: Base) -> bool:
    if not base.local:
        return _hub_chat_template(base)
    folder = Path(base.location)
    if (folder / "chat_template.jinja").is_file() or (folder / "chat_template.json").is_file():
        return True
    try:
        return bool(json.loads((folder / "tokenizer_config.json").read_text(encoding="utf-8")).get("chat_template"))
    except (OSError, ValueError, AttributeError):
        return False


def _hub_chat_template(base: Base) -> bool:
    """True also where the Hub cannot be asked: vLLM reports the problem then."""
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import EntryNotFoundError

    for name in ("chat_template.jinja", "tokenizer_config.json"):
        try:
            path = Path(hf_hub_download(base.location, name, **pinned(base)))
        except EntryNotFoundError:
            continue
        except Exception:  # the transport's error classes change with the client's version
            return True
        if name.endswith(".jinja") or json.loads(path.read_text(encoding="utf-8")).get("chat_template"):
            return True
    return False


def _check_memory(base: Base) -> None:
    try:
        weights = sum(math.prod(shape) for shape in weight_shapes(base).values())
    except BaseModelError:
        return  # the size is not known yet
    each = 4 if serving_dtype(base, on_cpu=True) == "float32" else 2
    needed, free = weights * each / 2**30, psutil.virtual_memory().available / 2**30
    if needed > free:
        raise BaseModelError(
            f"base {base.name}: its {weights / 1e9:.1f} billion weights need {needed:.1f} GiB and {free:.1f} GiB are "
            "free; use a smaller base, such as smollm2"
        )
