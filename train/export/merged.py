"""Merges an adapter into its base: one model that transformers and vLLM load without PEFT."""

from pathlib import Path

import torch
from peft import PeftModel
from transformers import AutoModelForCausalLM, AutoTokenizer, GenerationConfig

from understudy.bases import Base, pinned
from understudy.errors import AdapterError

PRECISIONS = {torch.float32: "f32", torch.bfloat16: "bf16", torch.float16: "f16"}


def write_merged(base: Base, adapter: Path, out: Path, *, dtype: torch.dtype | None = None) -> str:
    """Writes the merged weights with tokenizer, chat template and generation_config.json to the folder `out`.

    The sum is computed in float32. Returns the precision of the stored weights: `f32`, `bf16` or `f16`.

    Args:
        dtype: what the weights are stored in; None means what the base has them in.

    Raises:
        AdapterError: the adapter cannot be merged into this base.
    """
    own = AutoModelForCausalLM.from_pretrained(base.location, dtype="auto", **pinned(base)).dtype
    model = AutoModelForCausalLM.from_pretrained(base.location, dtype=torch.float32, **pinned(base))
    try:
        merged = PeftModel.from_pretrained(model, adapter, torch_device="cpu").merge_and_unload(safe_merge=True)
    except (ValueError, RuntimeError, KeyError) as error:
        raise AdapterError(f"{adapter.name} cannot be merged into {base.name}: {str(error).splitlines()[0]}") from error
    # What the makers advise may contradict itself (temperature without do_sample); it is copied as it is.
    merged.generation_config = GenerationConfig()
    stored = dtype or own
    merged.to(stored).save_pretrained(out)
    AutoTokenizer.from_pretrained(base.location, **pinned(base)).save_pretrained(out)
    _copy_generation_config(base, out)
    return PRECISIONS[stored]


def _copy_generation_config(base: Base, out: Path) -> None:
    target = out / "generation_config.json"
    if base.local:
        source = Path(base.location) / target.name
        target.unlink(missing_ok=True)
        if source.is_file():
            target.write_bytes(source.read_bytes())
        return
    GenerationConfig.from_pretrained(base.location, **pinned(base)).save_pretrained(out)
