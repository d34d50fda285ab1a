"""How the base is shaped and trained: one full plan, one quick plan to try the machinery."""

from dataclasses import dataclass

from transformers import LlamaConfig


@dataclass(frozen=True)
class Plan:
    """Sizes and step counts of a build. Steps, not seconds, so that a seed means the same everywhere."""

    hidden: int
    """Width of the model; the head size is 64, which vLLM's CPU attention supports."""
    layers: int
    feed_forward: int
    vocabulary: int
    """Tokens, special ones included."""
    tokenizer_conversations: int
    """Conversations that the tokenizer learns from."""
    steps: int
    """Optimiser steps in all, the copy curriculum included."""
    copy_steps: int
    """First steps, in which the model only learns to repeat random tokens."""
    batch_tokens: int
    """Tokens in a batch, padding included."""
    checkpoint_every: int
    """Steps between two checkpoints."""
    round_conversations: int = 1024
    """Conversations that are generated and sorted into batches at a time."""
    copy_share: float = 0.04
    """Share of later steps that repeat random tokens."""
    prompt_weight: float = 0.1
    """Weight of the loss on what the user says; answers have 1."""
    matrix_rate: float = 0.02
    """Learning rate of Muon, for the hidden matrices."""
    other_rate: float = 3e-3
    """Learning rate of AdamW, for the embedding and the norms."""
    head_size: int = 64

    @property
    def heads(self) -> int:
        return self.hidden // self.head_size


FULL = Plan(
    hidden=256,
    layers=5,
    feed_forward=704,
    vocabulary=4096,
    tokenizer_conversations=16_000,
    steps=2600,
    copy_steps=200,
    batch_tokens=4096,
    checkpoint_every=100,
)
QUICK = Plan(
    hidden=128,
    layers=3,
    feed_forward=352,
    vocabulary=2048,
    tokenizer_conversations=3_000,
    steps=260,
    copy_steps=60,
    batch_tokens=1536,
    checkpoint_every=40,
    round_conversations=512,
)


def llama_config(plan: Plan, end_id: int, pad_id: int) -> LlamaConfig:
    """A plain Llama with tied embeddings, as transformers and vLLM load it."""
    return LlamaConfig(
        vocab_size=plan.vocabulary,
        hidden_size=plan.hidden,
        intermediate_size=plan.feed_forward,
        num_hidden_layers=plan.layers,
        num_attention_heads=plan.heads,
        num_key_value_heads=plan.heads,
        head_dim=plan.head_size,
        max_position_embeddings=1024,
        tie_word_embeddings=True,
        bos_token_id=None,
        eos_token_id=end_id,
        pad_token_id=pad_id,
        rope_parameters={"rope_type": "default", "rope_theta": 10_000.0},
        initializer_range=0.02,
    )
