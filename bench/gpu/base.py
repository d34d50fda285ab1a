"""A base of random weights whose answers end: the shape decides its speed, and a publish may be proved on it.

A random model never ends an answer, and a gateway that proves candidates refuses every adapter on it. Here all
embeddings share one direction, which survives the layers, and the end of a turn listens to it: it comes after some
twenty tokens, whatever was said. The other tokens are words, drawn by weights that are random.

python -m bench.gpu.base FOLDER SHAPE.json DEVICE
"""

import json
import math
import sys
from pathlib import Path
from typing import Any

import torch
from transformers import AutoTokenizer, LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerBase
from transformers.utils.logging import disable_progress_bar

from understudy.bases import SMOLLM2, Base, resolve_base

CONTEXT = 8192
SPREAD = 3.0
"""Standard deviation of the words' logits: the likeliest of fifty thousand is then likelier than the end."""
LENGTH = 20
"""Tokens of a mean answer."""
NEVER = -8.0
"""The logit of what is no word."""


def random_base(folder: Path, shape: dict[str, Any], device: str) -> Base:
    """Writes a random Llama of that shape in bfloat16, with the default base's tokenizer, and returns it."""
    tokenizer = AutoTokenizer.from_pretrained(resolve_base(SMOLLM2).location)
    config = LlamaConfig(
        **shape,
        max_position_embeddings=CONTEXT,
        tie_word_embeddings=False,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        dtype="bfloat16",
    )
    disable_progress_bar()
    torch.manual_seed(0)
    torch.set_default_dtype(torch.bfloat16)
    try:
        with torch.device(device), torch.no_grad():
            model = LlamaForCausalLM(config).eval()
            _let_it_end(model, tokenizer)
    finally:
        torch.set_default_dtype(torch.float32)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    # Sampled at 1, as the ends are meant; a base that says nothing is asked for its likeliest words.
    ends = {"eos_token_id": tokenizer.eos_token_id, "do_sample": True, "temperature": 1.0}
    (folder / "generation_config.json").write_text(json.dumps(ends))
    return resolve_base(str(folder))


def _let_it_end(model: LlamaForCausalLM, tokenizer: PreTrainedTokenizerBase) -> None:
    config = model.config
    width, layers = config.hidden_size, config.num_hidden_layers
    for name, weight in model.named_parameters():
        if name.endswith(("o_proj.weight", "down_proj.weight")):
            weight.div_(math.sqrt(2 * layers))  # together they add about as much as the embedding has
    direction = torch.randn(width).sign()
    model.model.embed_tokens.weight.copy_(0.5 * torch.randn(config.vocab_size, width) + direction)
    plain = sorted({*range(len(tokenizer))} - {*tokenizer.all_special_ids})
    words = torch.tensor([number for number in plain if _is_word(str(tokenizer.decode([number])))])
    share = _share(model, words, direction)
    head = torch.full((config.vocab_size, 1), NEVER / (share * width)) * direction
    head[words] = SPREAD / math.sqrt(width) * torch.randn(len(words), width)
    others = math.log(len(words)) + SPREAD**2 / 2
    head[int(str(tokenizer.eos_token_id))] = (others - math.log(LENGTH)) / (share * width) * direction
    model.lm_head.weight.copy_(head)


def _share(model: LlamaForCausalLM, words: torch.Tensor, direction: torch.Tensor) -> float:
    """How much of what the head sees goes in that direction, from some texts of random words."""
    texts = words[torch.randint(len(words), (4, 64))]
    seen = model.model(input_ids=texts).last_hidden_state[:, 8:]
    return float((seen.float() @ direction.float()).mean()) / len(direction)


def _is_word(text: str) -> bool:
    return text.isascii() and text.isprintable() and any(letter.isalpha() for letter in text)


if __name__ == "__main__":
    random_base(Path(sys.argv[1]), json.loads(Path(sys.argv[2]).read_text()), sys.argv[3])
