"""A sentence encoder without a model: texts that share words are alike."""

from collections.abc import Sequence

import numpy as np
from sklearn.feature_extraction.text import HashingVectorizer

VECTORS = HashingVectorizer(n_features=4096, alternate_sign=False)


def embed(texts: Sequence[str]) -> np.ndarray:
    """Counts of words, each row of length 1 (or 0 for no words)."""
    return np.asarray(VECTORS.transform(list(texts)).todense())  # pyright: ignore[reportAttributeAccessIssue]
