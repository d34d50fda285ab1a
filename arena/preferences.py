"""From votes to preferences: pairs and labels to train on, each with the votes behind it and nothing about voters.

The rules, in the order in which they are followed:

1. Only open battles that have their vote count; void ones take none. A replay shows an earlier battle's answers to
   somebody else, blind again: its vote joins those on the same answers (rule 5) and is marked.
2. A battle counts for a persona when it answered on at least one side and no other persona on the other: another
   persona's win would teach another voice, and another system's imported answer is not ours to train on. The base,
   few-shot and its own revisions are fine rivals.
3. Battles with an empty answer, or with the same answer twice, teach nothing.
4. A tie makes no pair and no label. Both bad makes no pair, but two unwanted answers.
5. Votes on the same two answers to the same prompt are one pair: the majority is followed, an even split drops it.
   The same holds for an answer's label.
6. A prompt is on one side of the split, whatever was answered to it (`understudy.data.preferences.split_of`).
"""

from collections import defaultdict
from collections.abc import Collection, Sequence
from dataclasses import dataclass

from pydantic import BaseModel, ConfigDict

from arena.battles.blinding import IMPORTED
from arena.votes.votes import Side, Vote, VotedAnswer
from understudy.data.messages import Message
from understudy.data.preferences import HELDOUT, Form, Label, PreferencePair, PreferenceVote, Split, split_of
from understudy.errors import MeasurementError

LEAST = 8
"""Fewest pairs or labels that can be trained on; fewer would be chance rather than preference."""

OTHER: dict[Side, Side] = {"left": "right", "right": "left"}


class PreferenceCounts(BaseModel):
    """What became of the votes: each is in exactly one of `followed` to `others`."""

    model_config = ConfigDict(frozen=True)

    votes: int
    followed: int
    """Decisive votes that pairs are made from."""
    outvoted: int
    """Decisive votes against the majority on the same answers."""
    undecided: int
    """Decisive votes on answers that got as many for as against."""
    ties: int
    both_bad: int
    """They make labels, no pairs."""
    identical: int
    empty: int
    others: int
    replays: int
    """Votes among all these that were cast on a replay."""
    pairs: int
    pairs_heldout: int
    labels: int
    labels_heldout: int
    prompts: int
    prompts_heldout: int


@dataclass(frozen=True)
class Preferences:
    """Everything that votes tell about a persona's answers, oldest vote first."""

    pairs: list[PreferencePair]
    labels: list[Label]
    counted: PreferenceCounts

    def rows(self, form: Form) -> list[PreferencePair] | list[Label]:
        """Pairs for DPO, labels for KTO."""
        return self.labels if form == "kto" else self.pairs


def preferences(
    voted: Sequence[Vote],
    persona: str,
    *,
    personas: Collection[str] = (),
    kept: Collection[str] = (),
    heldout: float = HELDOUT,
) -> Preferences:
    """What those votes say about `persona`, by the rules above.

    Args:
        personas: names of all personas; battles against another one, or an imported answer, are left out.
        kept: prompts that must not be trained on whatever their hash says, such as a recipe's held-out ones.
        heldout: share of the prompts that are kept for measuring.
    """
    left_out: dict[str, int] = defaultdict(int)
    pairs: dict[tuple[str, frozenset[str]], list[Vote]] = defaultdict(list)
    labels: dict[tuple[str, str], list[tuple[Vote, Side, bool]]] = defaultdict(list)
    for one in voted:
        reason = _why_left_out(one, persona, personas)
        if reason:
            left_out[reason] += 1
            continue
        if one.verdict != "both_bad":
            pairs[_key(one.prompt), frozenset((one.left_text, one.right_text))].append(one)
        for side in OTHER:
            labels[_key(one.prompt), one.answer(side).text].append((one, side, one.verdict == side))
    keep = {_key(prompt) for prompt in kept}
    sides: dict[str, Split] = {_key(one.prompt): _side(one.prompt, keep, heldout) for one in voted}
    made = [pair for votes in pairs.values() for pair in _pair(votes, sides)]
    labelled = [label for votes in labels.values() for label in _label(votes, sides)]
    return Preferences(made, labelled, _counted(voted, left_out, pairs, made, labelled))


def require_enough(rows: Sequence[PreferencePair | Label], persona: str, *, least: int = LEAST) -> None:
    """Raises MeasurementError when fewer than `least` rows may be trained on."""
    found = sum(row.side == "train" for row in rows)
    if found < least:
        kind = "labels" if rows and isinstance(rows[0], Label) else "pairs"
        raise MeasurementError(
            f"{persona}: votes give {found} {kind} to train on and {len(rows) - found} held out, {least} are needed; "
            "collect more votes in the arena"
        )


def _why_left_out(one: Vote, persona: str, personas: Collection[str]) -> str:
    rivals = {one.answer(side).persona for side in OTHER} - {persona}
    if rivals.intersection(personas) or any(rival.endswith(IMPORTED) for rival in rivals):
        return "others"
    if not one.left_text.strip() or not one.right_text.strip():
        return "empty"
    if one.left_text.strip() == one.right_text.strip():
        return "identical"
    return "ties" if one.verdict == "tie" else ""


def _pair(votes: list[Vote], sides: dict[str, Split]) -> list[PreferencePair]:
    """The pair that votes on the same two answers make; none when they are evenly split."""
    first = votes[0]
    for_left = [one for one in votes if _winner(one).text == first.left_text]
    for_right = [one for one in votes if _winner(one).text != first.left_text]
    if len(for_left) == len(for_right):
        return []
    followed, outvoted = sorted((for_left, for_right), key=len, reverse=True)
    best = followed[0]
    loser = best.answer(OTHER[_preferred_side(best)])
    return [
        PreferencePair(
            prompt=(Message(role="user", content=best.prompt),),
            chosen=(Message(role="assistant", content=_winner(best).text),),
            rejected=(Message(role="assistant", content=loser.text),),
            split=sides[_key(best.prompt)],
            votes=tuple(_preference_vote(one, _preferred_side(one)) for one in followed),
            outvoted=len(outvoted),
            chosen_by=_winner(best).by,
            rejected_by=loser.by,
        )
    ]


def _label(votes: list[tuple[Vote, Side, bool]], sides: dict[str, Split]) -> list[Label]:
    wanted: list[tuple[Vote, Side]] = [(one, side) for one, side, good in votes if good]
    unwanted: list[tuple[Vote, Side]] = [(one, side) for one, side, good in votes if not good]
    if len(wanted) == len(unwanted):
        return []
    followed, outvoted = sorted((wanted, unwanted), key=len, reverse=True)
    one, side = followed[0]
    return [
        Label(
            prompt=(Message(role="user", content=one.prompt),),
            completion=(Message(role="assistant", content=one.answer(side).text),),
            label=followed is wanted,
            split=sides[_key(one.prompt)],
            votes=tuple(_preference_vote(one, side) for one, side in followed),
            outvoted=len(outvoted),
            by=one.answer(side).by,
        )
    ]


def _counted(
    voted: Sequence[Vote],
    left_out: dict[str, int],
    by_pair: dict[tuple[str, frozenset[str]], list[Vote]],
    pairs: list[PreferencePair],
    labels: list[Label],
) -> PreferenceCounts:
    followed, outvoted = sum(len(pair.votes) for pair in pairs), sum(pair.outvoted for pair in pairs)
    decisive = sum(map(len, by_pair.values()))
    named = ("ties", "identical", "empty", "others")
    prompts = {_key(row.prompt[0].content): row.side for row in labels}
    return PreferenceCounts(
        votes=len(voted),
        followed=followed,
        outvoted=outvoted,
        undecided=decisive - followed - outvoted,
        both_bad=len(voted) - decisive - sum(left_out.values()),
        **{name: left_out[name] for name in named},
        replays=sum(one.replay for one in voted),
        pairs=len(pairs),
        pairs_heldout=sum(pair.side == "heldout" for pair in pairs),
        labels=len(labels),
        labels_heldout=sum(label.side == "heldout" for label in labels),
        prompts=len(prompts),
        prompts_heldout=sum(side == "heldout" for side in prompts.values()),
    )


def _side(prompt: str, kept: Collection[str], heldout: float) -> Split:
    return "heldout" if _key(prompt) in kept else split_of((Message(role="user", content=prompt),), heldout)


def _key(prompt: str) -> str:
    return " ".join(prompt.split()).casefold()


def _preferred_side(one: Vote) -> Side:
    return "left" if one.verdict == "left" else "right"


def _winner(one: Vote) -> VotedAnswer:
    return one.answer(_preferred_side(one))


def _preference_vote(one: Vote, side: Side) -> PreferenceVote:
    return PreferenceVote(battle=one.battle, at=one.at, side=side, replay=one.replay, sampling=one.sampling)
