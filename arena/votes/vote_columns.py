"""Votes files: which names their columns have, and which of them say who won."""

from collections.abc import Callable, Sequence

from understudy.data.records import shown
from understudy.errors import ExamplesError

COLUMNS = {
    "left": ("left", "model_a", "item_a"),
    "right": ("right", "model_b", "item_b"),
    "winner": ("winner", "verdict"),
    "category": ("category",),
    "voter": ("voter", "judge", "user", "session", "user_id", "evaluation_session_id"),
    "order": ("order", "at", "time", "timestamp", "tstamp", "created_at"),
    "left_length": ("left_length", "length_a"),
    "right_length": ("right_length", "length_b"),
    "left_text": ("left_text", "answer_a", "response_a", "conversation_a"),
    "right_text": ("right_text", "answer_b", "response_b", "conversation_b"),
    "blind": ("anony",),
    "sampled": ("dedup_tag", "dedup_tag.sampled", "dedup_tag_sampled"),
    "left_won": ("winner_model_a",),
    "right_won": ("winner_model_b",),
    "tied": ("winner_tie",),
    "left_wins": ("wins_a",),
    "right_wins": ("wins_b",),
    "ties": ("ties",),
    "both_bad": (
        *("both_bad", "both bad", "bothbad", "both_bads", "winner_both_bad", "winner_bothbad"),
        *("winner_tie (bothbad)", "winner_tie_bothbad", "tie (bothbad)", "tie_bothbad", "ties_bothbad"),
    ),
}
"""Names that a column may have, in any case; the first one that is there counts."""
KNOWN = frozenset(alias for aliases in COLUMNS.values() for alias in aliases)
SIDES = ("left", "right")
FLAGS = {"left": "left_won", "right": "right_won", "tie": "tied", "both_bad": "both_bad"}
"""Verdict -> the column that has 1 where it is the verdict."""
COUNTS = {"left": "left_wins", "right": "right_wins", "tie": "ties", "both_bad": "both_bad"}
"""Verdict -> the column that counts it."""
PAIRED = ("length", "text")
"""Columns that say something only when both sides have them."""


def is_needed(name: str, by: str | None) -> bool:
    """Whether the column of that name can say anything about a vote."""
    plain = name.strip().casefold()
    return plain in KNOWN or (by is not None and plain == by.casefold())


def find_columns(names: Sequence[str], origin: Callable[[], str], by: str | None) -> dict[str, str]:
    """Our name of a column -> the file's. `by` names the category's column, `origin` the row that errors are about.

    Raises:
        ExamplesError: contestants or verdict are missing, `by` is not there, or two columns say who won.
    """
    there = {str(name).strip().casefold(): name for name in reversed(names)}
    found = {}
    for name, aliases in COLUMNS.items():
        column = next((there[alias] for alias in aliases if alias in there), None)
        if column is not None:
            found[name] = column
    listed = ", ".join(map(shown, names)) or "none"
    if by is not None:
        if by.casefold() not in there:
            raise ExamplesError(f"{origin()}: no column {shown(by)} for --by; the file has {listed}")
        found["category"] = there[by.casefold()]
    for name in SIDES:
        if name not in found:
            raise ExamplesError(
                f"{origin()}: no column {name} (or {', '.join(COLUMNS[name][1:])}); found {listed}; rename it"
            )
    others = _other_verdicts(found, listed, origin)
    return {name: column for name, column in found.items() if name not in others}


def _other_verdicts(found: dict[str, str], listed: str, origin: Callable[[], str]) -> set[str]:
    """Columns of verdicts that are not read, because another column says who won."""
    words, flags, counts = {"winner"}, {"left_won", "right_won"}, {"left_wins", "right_wins"}
    kind = next((needed for needed in (words, flags, counts) if needed <= found.keys()), None)
    if kind is None:
        raise ExamplesError(f"{origin()}: no column winner (left, right, tie or both_bad); found {listed}")
    counting = [name for name in ("left_wins", "right_wins") if name in found]
    if kind is not counts and counting:
        one, other = (shown(found[name]) for name in (min(kind), counting[0]))
        raise ExamplesError(f"{origin()}: both {one} and {other} say who won; remove one, or rename it")
    everything = words | set(FLAGS.values()) | set(COUNTS.values())
    return everything - (words if kind is words else set((FLAGS if kind is flags else COUNTS).values()))


def lone_columns(found: dict[str, str]) -> list[str]:
    """Remarks on lengths or texts that are there for one side only, and therefore unused."""
    remarks = []
    for kind in PAIRED:
        sides = [side for side in SIDES if f"{side}_{kind}" in found]
        if len(sides) == 1:
            other = "right" if sides == ["left"] else "left"
            column = shown(found[f"{sides[0]}_{kind}"])
            remarks.append(f"The column {column} is not used, for there is no {other}_{kind}.")
    return remarks
