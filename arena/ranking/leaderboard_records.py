"""What the leaderboard says, as records. docs/arena.md explains each figure."""

from pydantic import BaseModel, ConfigDict, Field, model_serializer

from arena.ranking.ratings import Coefficient, RatingModel
from understudy.statistics.confidence_sequences import WinRate


class LeaderboardRecord(BaseModel):
    """Frozen, finite, and complete: what is not known is None."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class Row(LeaderboardRecord):
    """One contestant's votes in all its battles."""

    name: str
    wins: int
    losses: int
    ties: int
    both_bad: int

    @property
    def ranked(self) -> int:
        """Votes that say something about a rank: without "both bad"."""
        return self.wins + self.losses + self.ties


class Hidden(LeaderboardRecord):
    """A contestant with too few votes to be shown."""

    name: str
    votes: int
    to_go: int


class PairRecord(LeaderboardRecord):
    """All votes between two contestants, from the first one's point of view."""

    one: str
    other: str
    win_rate: WinRate
    ties: int
    both_bad: int


class Position(LeaderboardRecord):
    """Whether the side of an answer matters. Sides are drawn by lot: without an effect, left wins every other time."""

    left: WinRate
    """Decisive votes for the left answer, with a confidence sequence."""
    p_value: float
    """Exact two-sided binomial test against 1/2; honest for one look only, unlike `left.e_value`."""
    coefficient: Coefficient | None
    """Log-odds that the left one of two equals is preferred, the contestants' strengths allowed for."""


class Length(LeaderboardRecord):
    """Whether longer answers win."""

    coefficient: Coefficient
    """Log-odds for each unit of lean, (left - right) / (left + right)."""
    twice_as_long: Coefficient
    """Chance, 0 to 1, that the longer of two equals is preferred when it is twice as long, ties aside."""
    votes: int
    """Votes on answers of known length."""


class Category(LeaderboardRecord):
    """The same for the prompts of one category."""

    name: str
    votes: int
    rows: list[Row]
    hidden: list[Hidden]
    model: RatingModel | None


class LeaderboardNote(LeaderboardRecord):
    """What a reader must know to read the figures rightly; in JSON it is its text alone."""

    code: str
    values: dict[str, str | int] = Field(default_factory=dict)
    """What the text says besides its code's fixed words, for pages that translate it."""
    text: str

    @model_serializer
    def _as_text(self) -> str:
        return self.text


class Leaderboard(LeaderboardRecord):
    """Every figure of the page."""

    votes: int
    """All votes, with both bad."""
    ties: int
    both_bad: int
    voters: int | None
    """None when no voter is known."""
    base: str | None
    """Whom strengths and `against_base` refer to; None when it has too few votes or none."""
    min_votes: int
    confidence: float
    rows: list[Row]
    """Contestants with enough votes, strongest first."""
    hidden: list[Hidden]
    against_base: list[PairRecord]
    """Each shown contestant against the base, in the order of `rows`."""
    overall: RatingModel | None
    """Davidson's model, nothing else allowed for."""
    controlled: RatingModel | None
    """The same with side and, where known, length allowed for: strengths of equally long answers on no side."""
    position: Position | None
    """None when sides are not known, or nobody has won yet."""
    length: Length | None
    """None when lengths are not known for half the votes, or tell nothing."""
    categories: list[Category]
    pairs: list[PairRecord]
    """Each two shown contestants that have met."""
    notes: list[LeaderboardNote]
    rankings: dict[str, dict[str, float | None]] = Field(default_factory=dict)
    """Score by contestant by method, of methods that others use (`arena.ranking.other_methods`)."""
    left_out: dict[str, int] = Field(default_factory=dict)
    """Rows of a votes file that are no votes, by reason."""
