"""Lists the pairs that may meet in the arena and draws one of them, uncertain pairs more often."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, get_args

from arena.battles.blinding import BASE, IMPORTED, new_seed
from arena.battles.pairing import PairVotes, choose_pair
from arena.votes.counts import LEFT, RIGHT, Cells
from evaluate.reports.imported_answers import OtherSystems, prompt_key
from space.backends.listing import Contestant
from space.status import GatewayStatus
from understudy.registry.persona_card import Shot, voice_prompt

Kind = Literal["base", "persona", "revision", "described", "shots", "imported"]
KINDS: tuple[str, ...] = get_args(Kind)
Category = Literal["suggested", "imported", "free"]


@dataclass(frozen=True)
class Player:
    """A contestant in a battle, and how its answer is obtained."""

    name: str
    """As in the votes and on the leaderboard."""
    title: str
    model: str = ""
    """The gateway's name of the model; empty for an answer that was imported."""
    shots: tuple[Shot, ...] = ()
    """Examples that are sent before the prompt."""
    system: str = ""
    """System prompt."""
    answer: str = ""
    """The imported answer."""
    names: tuple[str, ...] = ()
    """Words that would give it away."""


@dataclass(frozen=True)
class Match:
    """Two players, and the probability that this pair was drawn."""

    kind: Kind
    persona: Contestant
    """Whose sampling both sides use."""
    one: Player
    other: Player
    chance: float = 1.0


def matches(
    status: GatewayStatus, choice: str | None, against: str | None, prompt: str, other_systems: OtherSystems
) -> list[Match]:
    """Lists every pair that may meet on that prompt.

    `choice` is a persona's name, or empty for all of them; `against` is one of `KINDS`, or empty for all.
    """
    chosen = [one for one in status.personas if one.name == choice] or list(status.personas)
    kinds = (against,) if against in KINDS else KINDS
    found: dict[frozenset[str], Match] = {}
    for persona in chosen:
        for kind in KINDS:
            if kind in kinds:
                for match in _of_kind(kind, persona, status, prompt, other_systems):
                    found.setdefault(frozenset((match.one.name, match.other.name)), match)
    return list(found.values())


def draw(pairs: Sequence[Match], cells: Cells | None, *, seed: int | None = None) -> Match:
    """Draws one pair; its chance is higher the more one more vote would tell (`arena.battles.pairing`).

    Raises:
        MeasurementError: there are none.
    """
    votes = Counter(_outcomes(cells)) if cells is not None else Counter()
    known = [_pair_votes(match, votes) for match in pairs]
    choice = choose_pair(known, seed=new_seed() if seed is None else seed)
    match = next(one for one in pairs if (one.one.name, one.other.name) == (choice.one, choice.other))
    return Match(match.kind, match.persona, match.one, match.other, choice.probability)


def category(status: GatewayStatus, prompt: str, other_systems: OtherSystems) -> Category:
    """Where a prompt comes from: a persona's card, the imported answers, or the visitor."""
    key = prompt_key(prompt)
    if any(prompt_key(one) == key for persona in status.contestants for one in persona.prompts):
        return "suggested"
    return "imported" if other_systems.answers(prompt) else "free"


def _of_kind(
    kind: str, persona: Contestant, status: GatewayStatus, prompt: str, other_systems: OtherSystems
) -> list[Match]:
    live = _live(persona)
    if kind == "base":
        return [Match("base", persona, Player(BASE, "Base model", BASE), live)]
    if kind == "persona":
        return [Match("persona", persona, live, _live(one)) for one in status.personas if one.name != persona.name]
    if kind == "revision":
        current = _pinned(persona, persona.revision)
        return [Match("revision", persona, current, _pinned(persona, other)) for other in persona.others]
    if kind == "described":
        return [Match("described", persona, _described(persona), live)] if persona.voice else []
    if kind == "shots":
        return [Match("shots", persona, _with_shots(persona), live)] if persona.shots else []
    answers = other_systems.answers(prompt)
    return [Match("imported", persona, _imported(system, answer), live) for system, answer in answers.items()]


def _live(persona: Contestant) -> Player:
    return Player(persona.name, persona.title, persona.name, names=(persona.name, persona.title))


def _pinned(persona: Contestant, revision: str) -> Player:
    name = f"{persona.name}@{revision}"
    return Player(name, persona.title, name, names=(persona.name, persona.title, revision))


def _with_shots(persona: Contestant) -> Player:
    title = f"Base model with {len(persona.shots)} examples of {persona.title}"
    return Player(f"{BASE}+{persona.name}", title, BASE, persona.shots, names=(persona.name, persona.title))


def _described(persona: Contestant) -> Player:
    title = f"Base model with the description of {persona.title}"
    names = (persona.name, persona.title)
    return Player(f"{BASE}~{persona.name}", title, BASE, system=voice_prompt(persona.voice), names=names)


def _imported(system: str, answer: str) -> Player:
    return Player(f"{system}{IMPORTED}", system, answer=answer, names=(system,))


def _outcomes(cells: Cells) -> dict[tuple[str, str, str], int]:
    """Number of votes by first contestant, second contestant and outcome for the first."""
    found: Counter[tuple[str, str, str]] = Counter()
    names = cells.contestants
    for left, right, verdict, count in zip(cells.left, cells.right, cells.verdict, cells.count, strict=True):
        outcome, reverse = {LEFT: ("won", "lost"), RIGHT: ("lost", "won")}.get(int(verdict), ("even", "even"))
        found[names[left], names[right], outcome] += int(count)
        found[names[right], names[left], reverse] += int(count)
    return found


def _pair_votes(match: Match, votes: Counter[tuple[str, str, str]]) -> PairVotes:
    one, other = match.one.name, match.other.name
    wins, losses, even = (votes[one, other, outcome] for outcome in ("won", "lost", "even"))
    return PairVotes(one, other, wins, losses, even)
