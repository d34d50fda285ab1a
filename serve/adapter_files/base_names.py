"""The names that one base goes by: earlier names, renamed mirrors and copies at a lower precision."""

import re

QUANTISED = re.compile(
    r"(?:(?:-unsloth|-dynamic)?-bnb-(?:[48]bit|nf4)|-awq(?:-int4)?|-gptq(?:-int[48])?|-int[48]|-fp8(?:-dynamic)?)$"
)
"""Endings of copies with the same weights at a lower precision; names are in lower case here."""

MIRRORS: dict[str, frozenset[str]] = {
    "unsloth": frozenset(
        {
            *("qwen", "meta-llama", "mistralai", "google", "microsoft", "huggingfacetb"),
            *("deepseek-ai", "ibm-granite", "tinyllama", "allenai", "tiiuae"),
        }
    ),
    "nousresearch": frozenset({"meta-llama"}),
    "hugging-quants": frozenset({"meta-llama"}),
}
"""Whose models a mirror copies under their own name. Anybody else's model of that name is another one."""

RENAMED = {
    # Repositories that the Hub has moved; the old name still leads to the new one.
    "gpt2": "openai-community/gpt2",
    "gpt2-medium": "openai-community/gpt2-medium",
    "gpt2-large": "openai-community/gpt2-large",
    "gpt2-xl": "openai-community/gpt2-xl",
    "openai-gpt": "openai-community/openai-gpt",
    "distilgpt2": "distilbert/distilgpt2",
    "ctrl": "salesforce/ctrl",
    "meta-llama/meta-llama-3.1-8b": "meta-llama/llama-3.1-8b",
    "meta-llama/meta-llama-3.1-8b-instruct": "meta-llama/llama-3.1-8b-instruct",
    "meta-llama/meta-llama-3.1-70b": "meta-llama/llama-3.1-70b",
    "meta-llama/meta-llama-3.1-70b-instruct": "meta-llama/llama-3.1-70b-instruct",
    "meta-llama/meta-llama-3.1-405b": "meta-llama/llama-3.1-405b",
    "meta-llama/meta-llama-3.1-405b-instruct": "meta-llama/llama-3.1-405b-instruct",
    # Copies under another name (https://github.com/unslothai/unsloth, unsloth/models/mapper.py).
    "unsloth/tinyllama": "tinyllama/tinyllama-1.1b-intermediate-step-1431k-3t",
    "unsloth/tinyllama-chat": "tinyllama/tinyllama-1.1b-chat-v1.0",
    "unsloth/llama-2-7b": "meta-llama/llama-2-7b-hf",
    "unsloth/llama-2-7b-chat": "meta-llama/llama-2-7b-chat-hf",
    "unsloth/llama-2-13b": "meta-llama/llama-2-13b-hf",
    "unsloth/llama-3-8b": "meta-llama/meta-llama-3-8b",
    "unsloth/llama-3-8b-instruct": "meta-llama/meta-llama-3-8b-instruct",
    "unsloth/llama-3-70b": "meta-llama/meta-llama-3-70b",
    "unsloth/llama-3-70b-instruct": "meta-llama/meta-llama-3-70b-instruct",
    "unsloth/codellama-7b": "codellama/codellama-7b-hf",
    "unsloth/codellama-13b": "codellama/codellama-13b-hf",
    "unsloth/codellama-34b": "codellama/codellama-34b-hf",
    "unsloth/mistral-7b": "mistralai/mistral-7b-v0.1",
    "unsloth/mistral-7b-v0.2": "mistral-community/mistral-7b-v0.2",
    "unsloth/zephyr-sft": "huggingfaceh4/mistral-7b-sft-beta",
    "unsloth/yi-6b": "01-ai/yi-6b",
    "unsloth/yi-34b": "01-ai/yi-34b",
    "unsloth/openhermes-2.5-mistral-7b": "teknium/openhermes-2.5-mistral-7b",
    "unsloth/hermes-2-pro-mistral-7b": "nousresearch/hermes-2-pro-mistral-7b",
    "unsloth/hermes-3-llama-3.1-8b": "nousresearch/hermes-3-llama-3.1-8b",
    "unsloth/starling-lm-7b-beta": "nexusflow/starling-lm-7b-beta",
}
"""Earlier name or renamed copy: the name that it goes by now. Lower case, without a quantised copy's ending."""


def without_precision(name: str) -> str:
    """The name of the original of a quantised copy; `name` in lower case."""
    return QUANTISED.sub("", name)


def current_name(owner: str, name: str) -> tuple[str, str]:
    """Owner and name that a repository goes by now; both in lower case, the owner is empty for a bare name."""
    mirrored = MIRRORS.get(owner, frozenset())
    known = f"{owner}/{name}" if owner else name
    found = RENAMED.get(known) or next(
        (RENAMED[f"{other}/{name}"] for other in sorted(mirrored) if f"{other}/{name}" in RENAMED), known
    )
    new_owner, _, new_name = found.rpartition("/")
    return new_owner, new_name


def same_owner(one: str, other: str) -> bool:
    """Whether a model of the same name by both is the same model: one copies the other's."""
    return one == other or other in MIRRORS.get(one, ()) or one in MIRRORS.get(other, ())
