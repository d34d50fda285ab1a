"""The fixed texts of a model card, and how figures and quoted texts are written into Markdown."""

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

from train.hub.public_base import PublicBase
from understudy.bases import SMOLLM2, TINY, known_base
from understudy.bases.prepare import SAMPLING
from understudy.registry.adapters import short

LONGEST = 1200
"""Most characters of an answer that a card shows."""

LIMITS = """\
## What it is for, and what not

It is meant for trying out and serving this one voice. From {rows} examples it learnt a manner of speaking, not facts:
what it says may be false, however sure it sounds, and it shares the base's faults, biases included.
It was trained and measured on single questions, not on long conversations. Do not use this {kind} where a wrong answer
does harm, or to pass its texts off as a real person's."""

PEFT = """\
```python
from peft import PeftModel
from transformers import AutoModelForCausalLM, AutoTokenizer
{imports}
base = AutoModelForCausalLM.from_pretrained({base}{revision})
model = PeftModel.from_pretrained(base, "{repo}")
tokenizer = AutoTokenizer.from_pretrained("{repo}")
chat = [{{"role": "user", "content": {prompt}}}]
inputs = tokenizer.apply_chat_template(chat, add_generation_prompt=True, return_dict=True, return_tensors="pt")
tokens = model.generate(**inputs, max_new_tokens=256{sampling})
print(tokenizer.decode(tokens[0, inputs["input_ids"].shape[1] :], skip_special_tokens=True))
```"""

VLLM = """\
With vLLM:

```bash
vllm serve {base}{revision} --enable-lora --max-lora-rank {rank} --lora-modules {name}={repo}{sampling}
```"""

GATEWAY = """\
With Understudy, whose gateway checks each new revision before it goes live (`personas.yaml`):

```yaml
{name}:
  repo: {repo}
  follow: latest
```"""

WHOLE = """\
```python
from transformers import pipeline

chat = pipeline("text-generation", "{repo}")
print(chat([{{"role": "user", "content": {prompt}}}], max_new_tokens=256)[0]["generated_text"][-1]["content"])
```

```bash
vllm serve {repo} --served-model-name {name}
```"""


def usage(repo: str, name: str, base: PublicBase, prompts: Sequence[str], *, whole: bool, rank: int) -> str:
    """Return the section on how to use it; empty while it is in no repository."""
    if not repo:
        return ""
    prompt = repr(prompts[0] if prompts else "Hello").replace("`", "'")
    if whole:
        return "## How to use it\n\n" + WHOLE.format(repo=repo, name=name, prompt=prompt)
    pinned = base.hub and base.revision
    sampling = sampling_of(base)
    known = {"base": f'"{base.name}"', "imports": "", "sampling": "".join(f", {n}={v}" for n, v in sampling.items())}
    if base.name == TINY:
        known |= {"base": "TINY_DIR", "imports": "from understudy.bases import TINY_DIR\n"}
    parts = [PEFT.format(**known, repo=repo, prompt=prompt, revision=f', revision="{pinned}"' if pinned else "")]
    if base.hub:
        revision = f" --revision {pinned}" if pinned else ""
        served = {n: v for n, v in sampling.items() if n != "do_sample"}
        override = f" \\\n  --override-generation-config '{json.dumps(served)}'" if served else ""
        about = {"base": base.name, "repo": repo, "name": name, "rank": engine_rank(rank)}
        parts.append(VLLM.format(**about, revision=revision, sampling=override))
    return "\n\n".join(["## How to use it", *parts, GATEWAY.format(name=name, repo=repo)])


def sampling_of(base: PublicBase) -> dict[str, Any]:
    """Return the sampling that the card must name, as the Hub's copy of the base has none; else empty."""
    known = known_base(base.name)
    return SAMPLING if known and known.name == SMOLLM2 else {}


def continued(run: Mapping[str, Any]) -> str:
    """Return the sentence on the adapter that it continues, if it was trained on preferences; else empty."""
    made = run.get("preference")
    if not isinstance(made, dict):
        return ""
    judge = f", judged by `{run['judge']}`" if run.get("judge") else ""
    settings = ", ".join(f"{n.replace('_', ' ')} {setting(made.get(n))}" for n in ("learning_rate", "beta", "epochs"))
    method = str(made.get("method")).upper()
    return (
        f" It continues revision `{short(str(run.get('parent')))}`, whose settings are below, with {method} on "
        f"{run.get('preferences')} preferences from blind votes{judge} ({settings}; SHA-256 of the preferences "
        f"`{str(run.get('preferences_sha256'))[:16]}`)."
    )


def engine_rank(rank: int) -> int:
    """Return the smallest `--max-lora-rank` of vLLM that is enough."""
    return next((known for known in (8, 16, 32, 64, 128, 256, 320, 512) if known >= rank), 512)


def interval(value: float, low: float, high: float, scale: str) -> str:
    """Return a figure with its interval: shares in percent, everything else with two decimals."""
    if scale == "share":
        return f"{value:.0%} ({100 * low:.0f} to {100 * high:.0f})"
    return f"{value:.2f} ({low:.2f} to {high:.2f})"


def setting(value: object) -> str:
    """Return a setting as a cell of a Markdown table."""
    if value is None or value == "":
        return "–"
    if isinstance(value, bool):
        return "yes" if value else "no"
    text = (
        ", ".join(map(str, value))
        if isinstance(value, list)
        else f"{value:g}"
        if isinstance(value, float)
        else str(value)
    )
    return text.replace("|", "\\|").replace("\n", " ")


def fenced(text: str) -> str:
    """Return a text as a fenced block; the fence is longer than any in the text."""
    text = text if len(text) <= LONGEST else f"{text[:LONGEST]}…"
    fence = "`" * max(3, 1 + max((len(run) for run in re.findall("`+", text)), default=0))
    return f"{fence}text\n{text.strip()}\n{fence}"
