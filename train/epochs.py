"""The number of epochs where a recipe says `epochs: auto`: it follows from the number of rows alone.

`epochs: cross-validated` decides by the held-out loss instead (`train.cross_validation`).
"""

import math

EPOCHS_BY_ROWS = ((32, 6.0), (100, 4.0), (math.inf, 3.0))
"""(most rows, epochs). For few rows the held-out loss is lowest after two or three epochs, before the sign-off of an
email has settled; judged by reading, six are better (docs/training.md)."""


def automatic_epochs(rows: int) -> float:
    """Return the number of epochs for `rows` training rows: 6 up to 32 rows, 4 up to 100, 3 above."""
    return next(epochs for most, epochs in EPOCHS_BY_ROWS if rows <= most)
