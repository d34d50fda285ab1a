"""Each persona's win rate against the base in the arena's votes, for its card."""

from collections import Counter
from dataclasses import dataclass

from arena.battles.blinding import BASE
from arena.ranking.leaderboard import MIN_VOTES
from arena.votes.counts import BOTH_BAD, LEFT, RIGHT, Cells
from understudy.statistics.confidence_sequences import win_rate


@dataclass(frozen=True)
class PersonaWinRate:
    """One persona's decisive votes against the base; rates are shares, 0 to 1, with an anytime-valid interval."""

    name: str
    to_go: int
    """Votes until the rate may be shown; 0 when it may."""
    rate: float = 0.0
    low: float = 0.0
    high: float = 1.0


def persona_win_rates(cells: Cells, *, needed: int = MIN_VOTES) -> tuple[PersonaWinRate, ...]:
    """Win rates of all who have met the base, by name; "both bad" counts for nobody."""
    wins, losses, votes = Counter[str](), Counter[str](), Counter[str]()
    for left, right, verdict, count in zip(cells.left, cells.right, cells.verdict, cells.count, strict=True):
        names = cells.contestants[left], cells.contestants[right]
        if BASE not in names or names[0] == names[1] or verdict == BOTH_BAD:
            continue
        name, winning = (names[1], RIGHT) if names[0] == BASE else (names[0], LEFT)
        votes[name] += int(count)
        wins[name] += int(count) if verdict == winning else 0
        losses[name] += int(count) if verdict in (LEFT, RIGHT) and verdict != winning else 0
    return tuple(_win_rate(name, wins[name], losses[name], votes[name], needed) for name in sorted(votes))


def _win_rate(name: str, wins: int, losses: int, votes: int, needed: int) -> PersonaWinRate:
    rate = win_rate(wins, losses)
    if votes < needed or rate.value is None:
        return PersonaWinRate(name, max(1, needed - votes))
    return PersonaWinRate(name, 0, rate.value, rate.low, rate.high)
