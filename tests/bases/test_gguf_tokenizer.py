"""A tokenizer out of a GGUF file's vocabulary: byte level, each digit alone, ids as in the file."""

import pytest

from understudy.bases.gguf_llama import build_tokenizer
from understudy.errors import BaseModelError

SPECIAL = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
MERGES = ["h e", "l l", "he ll", "hell o", "Ġ hello", "1 2"]


def bytes_in_text() -> list[str]:
    """GPT-2's 256 characters that stand for bytes."""
    from tokenizers.pre_tokenizers import ByteLevel

    return sorted(ByteLevel.alphabet())


def vocabulary() -> list[str]:
    return [*SPECIAL, *bytes_in_text(), *(merge.replace(" ", "") for merge in MERGES)]


def test_digits_stand_alone_and_text_comes_out_as_it_went_in() -> None:
    tokenizer = build_tokenizer(vocabulary(), MERGES, SPECIAL, "smollm")
    encoded = tokenizer.encode("<|im_start|>hello hello 1212<|im_end|>")
    assert encoded.tokens == ["<|im_start|>", "hello", "Ġhello", "Ġ", "1", "2", "1", "2", "<|im_end|>"]
    assert encoded.ids == [vocabulary().index(token) for token in encoded.tokens]
    for text in ("hello, it's 7:05\u202fpm", "naïve café 東京 \U0001f600", "\n\n\tx  =\r\n 12", ""):
        assert tokenizer.decode(tokenizer.encode(text).ids) == text


@pytest.mark.parametrize(
    ("tokens", "special", "pre", "says"),
    [
        (vocabulary(), SPECIAL, "llama-bpe", "pre-tokenizer is 'llama-bpe'; only 'smollm' can be read"),
        ([*vocabulary(), "hello"], SPECIAL, "smollm", r"the tokenizer has 265 tokens, the GGUF file 266"),
        (vocabulary(), [*SPECIAL, "<|new|>"], "smollm", "the tokenizer has 266 tokens, the GGUF file 265"),
    ],
    ids=["another pre-tokenizer", "a token twice", "a special token that is no token"],
)
def test_what_would_come_out_otherwise_is_refused(tokens: list[str], special: list[str], pre: str, says: str) -> None:
    with pytest.raises(BaseModelError, match=says):
        build_tokenizer(tokens, MERGES, special, pre)
