"""Top-k and top-p on a CPU: what may be drawn is what vLLM's own filter lets through."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from serve.engine.cpu_lora.sampling import CANDIDATES, filtered

VOCABULARY = 2000


def by_sorting(logits: torch.Tensor, k: torch.Tensor | None, p: torch.Tensor | None) -> torch.Tensor:
    """The definition: of the k likeliest, the fewest whose probabilities reach p."""
    result = torch.full_like(logits, -torch.inf)
    for n, row in enumerate(logits):
        order = row.argsort(descending=True)[: int(k[n]) if k is not None else None]
        before = row[order].softmax(-1).cumsum(-1) - row[order].softmax(-1)
        kept = order if p is None or p[n] >= 1 else order[before < float(p[n])]
        result[n, kept] = row[kept]
    return result


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 2**20),
    sharpness=st.sampled_from([0.01, 0.5, 2.0, 10.0]),
    nucleus=st.lists(st.sampled_from([0.1, 0.5, 0.9, 0.95, 1.0]), min_size=3, max_size=3),
    most=st.none() | st.lists(st.sampled_from([1, 5, 50, 400, VOCABULARY]), min_size=3, max_size=3),
)
def test_the_same_tokens_are_let_through(
    seed: int, sharpness: float, nucleus: list[float], most: list[int] | None
) -> None:
    logits = torch.randn(3, VOCABULARY, generator=torch.Generator().manual_seed(seed)) * sharpness
    p, k = torch.tensor(nucleus), None if most is None else torch.tensor(most, dtype=torch.int32)
    ours, theirs = filtered(by_sorting)(logits.clone(), k, p), by_sorting(logits, k, p)
    differ = (ours.isfinite() != theirs.isfinite()).sum(-1)
    assert (differ <= 1).all(), "a token on the very edge of the nucleus may fall on either side"
    both = ours.isfinite() & theirs.isfinite()
    assert torch.equal(ours[both], theirs[both])


def test_only_rows_with_a_wide_nucleus_are_sorted() -> None:
    asked: list[int] = []

    def counting(logits: torch.Tensor, k: torch.Tensor | None, p: torch.Tensor | None) -> torch.Tensor:
        asked.append(len(logits))
        return by_sorting(logits, k, p)

    flat, sharp = torch.zeros(1, VOCABULARY), torch.linspace(0, 200, VOCABULARY)[None]
    filtered(counting)(torch.cat([sharp, flat, sharp]), None, torch.tensor([0.9, 0.9, 1.0]))
    assert asked == [1]


@pytest.mark.parametrize("size", [10, CANDIDATES])
def test_a_small_vocabulary_is_left_to_vllm(size: int) -> None:
    logits = torch.randn(2, size)
    assert filtered(lambda logits, k, p: logits * 2)(logits, None, torch.tensor([0.5, 0.5])).equal(logits * 2)
