"""`data:` of a recipe: rows that it names instead of shipping them."""

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field


class DataSource(BaseModel):
    """Where the rows come from on every base except `smollm2` and `tiny`, and how they are filtered and split."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    source: str = Field(min_length=1)
    """A file or a folder (relative to the recipe's own folder), or `hub:ORG/NAME[@REVISION][:SPLIT]`."""
    columns: dict[str, str] = {}
    """Which column is which, where their names do not say, such as `{prompt: question, completion: reply}`."""
    limit: int = Field(default=0, ge=0)
    """Number of rows to keep, drawn with `seed`; 0 means all."""
    max_characters: int = Field(default=0, ge=0)
    """Longest row, prompt and answers together; longer ones are bad. 0 means that only `training.max_length` counts."""
    heldout: float = Field(default=0.05, ge=0, lt=1)
    """Share of the rows that is never trained on; at most 500 rows."""
    on_bad: Literal["refuse", "skip"] = "refuse"
    """Whether a bad row is an error, or bad rows and exact duplicates are left out and counted."""
    seed: int = 0
    """Seed of what `limit` and `heldout` draw; not the training's, so that all runs share their held-out rows."""

    def __hash__(self) -> int:
        """A dict has no hash of its own; equality still compares every field."""
        return hash((self.source, tuple(self.columns.items()), self.limit, self.heldout, self.seed))
