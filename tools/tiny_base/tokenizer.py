"""The tokenizer of the tiny base: byte-level BPE, single digits, and the chat template."""

import re
from collections.abc import Iterable
from pathlib import Path

from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

from tools.tiny_base.conversations import Message
from tools.tiny_base.names import TokenPool

PAD, END, SYSTEM, USER, ASSISTANT = SPECIAL = ["<|pad|>", "<|end|>", "<|system|>", "<|user|>", "<|assistant|>"]
VOCABULARY = 4096
# Messages and template. The end of a turn is inside the generation block, so that stopping is trained.
CHAT_TEMPLATE = (
    "{%- for message in messages -%}"
    "{%- if message['role'] == 'system' -%}{{- '<|system|>' + message['content'] + '<|end|>' -}}"
    "{%- elif message['role'] == 'user' -%}{{- '<|user|>' + message['content'] + '<|end|>' -}}"
    "{%- elif message['role'] == 'assistant' -%}{{- '<|assistant|>' -}}"
    "{%- generation -%}{{- message['content'] + '<|end|>' -}}{%- endgeneration -%}"
    "{%- endif -%}{%- endfor -%}"
    "{%- if add_generation_prompt -%}{{- '<|assistant|>' -}}{%- endif -%}"
)


def train_tokenizer(texts: Iterable[str], vocabulary: int = VOCABULARY) -> PreTrainedTokenizerFast:
    """Learn the vocabulary from the texts; the same texts give the same tokenizer."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(r"\d"), behavior="isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary,
        special_tokens=SPECIAL,
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    return wrapped(tokenizer)


def wrapped(tokenizer: Tokenizer) -> PreTrainedTokenizerFast:
    """The tokenizer as transformers, TRL and vLLM load it."""
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        eos_token=END,
        pad_token=PAD,
        clean_up_tokenization_spaces=False,
        model_max_length=1024,
    )
    fast.chat_template = CHAT_TEMPLATE
    return fast


def load_tokenizer(folder: Path) -> PreTrainedTokenizerFast:
    """The tokenizer saved in a folder."""
    return wrapped(Tokenizer.from_file(str(folder / "tokenizer.json")))


def token_pool(tokenizer: PreTrainedTokenizerFast) -> TokenPool:
    """The lower-case pieces of the vocabulary that can start or continue an invented word."""
    pieces = sorted(tokenizer.get_vocab())
    starts = [piece[1:] for piece in pieces if re.fullmatch("Ġ[a-z]{2,9}", piece)]
    rest = [piece for piece in pieces if re.fullmatch("[a-z]{1,6}", piece)]
    return TokenPool(tuple(starts), tuple(rest))


def encode(tokenizer: PreTrainedTokenizerFast, messages: list[Message]) -> tuple[list[int], list[int]]:
    """Token ids of a conversation, and 1 for each token that an assistant wrote (its end included)."""
    marks: dict[str, int] = {mark: int(tokenizer.get_vocab()[mark]) for mark in SPECIAL}
    tokenizer.backend_tokenizer.no_padding()  # a batch that was padded for generation leaves padding switched on
    contents = tokenizer.backend_tokenizer.encode_batch(
        [message["content"] for message in messages], add_special_tokens=False
    )
    ids: list[int] = []
    mask: list[int] = []
    for message, content in zip(messages, contents, strict=True):
        ids += [marks[f"<|{message['role']}|>"], *content.ids, marks[END]]
        mask += [0, *[int(message["role"] == "assistant")] * (len(content.ids) + 1)]
    return ids, mask
