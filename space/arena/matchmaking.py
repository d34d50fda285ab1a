"""Who may meet whom in the arena, and the draw: every pair in play, the uncertain ones more often."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, get_args

from arena.battles.blinding import BASE, IMPORTED, new_seed
from arena.battles.pairing import PairVotes, choose_pair
from arena.votes.counts import Cells
from arena.votes.table import LEFT, RIGHT
from evaluate.reports.imported_answers import OtherSystems, prompt_key
from space.backends.listing import Contestant
from space.status import GatewayStatus
from understudy.registry.persona_card import Shot, voice_prompt

Kind = Literal["base", "persona", "revision", "described", "shots", "imported"]
KINDS: tuple[str, ...] = get_args(Kind)
Category = Literal["suggested", "imported", "free"]


@dataclass(frozen=True)
class Player:
    """Somebody who answers in a battle."""

    name: str
    """As votes and leaderboard know it."""
    title: str
    model: str = ""
    """What the gateway is asked for; empty for an answer that was imported."""
    shots: tuple[Shot, ...] = ()
    system: str = ""
    """System prompt that it is asked with."""
    answer: str = ""
    """What it said when it was asked elsewhere."""
    telling: tuple[str, ...] = ()
    """Words that would give it away."""


@dataclass(frozen=True)
class Match:
    """Two players and how likely this pair was."""

    kind: Kind
    persona: Contestant
    """Whose sampling both sides use."""
    one: Player
    other: Player
    chance: float = 1.0


def matches(
    snapshot: GatewayStatus, choice: str | None, against: str | None, prompt: str, guests: OtherSystems
) -> list[Match]:
    """Every pair that may meet on that prompt.

    `choice` is a persona's name, or nothing for all of them; `against` one of `KINDS`, or nothing for all.
    """
    chosen = [one for one in snapshot.personas if one.name == choice] or list(snapshot.personas)
    kinds = (against,) if against in KINDS else KINDS
    found: dict[frozenset[str], Match] = {}
    for persona in chosen:
        for kind in KINDS:
            if kind in kinds:
                for match in _of_kind(kind, persona, snapshot, prompt, guests):
                    found.setdefault(frozenset((match.one.name, match.other.name)), match)
    return list(found.values())


def draw(pairs: Sequence[Match], cells: Cells | None, *, seed: int | None = None) -> Match:
    """One of them by lot; the chance is higher the more one more vote would tell (`arena.battles.pairing`).

    Raises:
        MeasurementError: there are none.
    """
    votes = Counter(_votes(cells)) if cells is not None else Counter()
    known = [_known(match, votes) for match in pairs]
    choice = choose_pair(known, seed=new_seed() if seed is None else seed)
    match = next(one for one in pairs if (one.one.name, one.other.name) == (choice.one, choice.other))
    return Match(match.kind, match.persona, match.one, match.other, choice.probability)


def category(snapshot: GatewayStatus, prompt: str, guests: OtherSystems) -> Category:
    """Where a prompt comes from."""
    key = prompt_key(prompt)
    if any(prompt_key(one) == key for persona in snapshot.contestants for one in persona.prompts):
        return "suggested"
    return "imported" if guests.answers(prompt) else "free"


def _of_kind(kind: str, persona: Contestant, snapshot: GatewayStatus, prompt: str, guests: OtherSystems) -> list[Match]:
    me = _live(persona)
    if kind == "base":
        return [Match("base", persona, Player(BASE, "Base model", BASE), me)]
    if kind == "persona":
        return [Match("persona", persona, me, _live(one)) for one in snapshot.personas if one.name != persona.name]
    if kind == "revision":
        now = _pinned(persona, persona.revision)
        return [Match("revision", persona, now, _pinned(persona, other)) for other in persona.others]
    if kind == "described":
        return [Match("described", persona, _described(persona), me)] if persona.voice else []
    if kind == "shots":
        return [Match("shots", persona, _with_shots(persona), me)] if persona.shots else []
    return [Match("imported", persona, _guest(system, said), me) for system, said in guests.answers(prompt).items()]


def _live(persona: Contestant) -> Player:
    return Player(persona.name, persona.title, persona.name, telling=(persona.name, persona.title))


def _pinned(persona: Contestant, revision: str) -> Player:
    name = f"{persona.name}@{revision}"
    return Player(name, persona.title, name, telling=(persona.name, persona.title, revision))


def _with_shots(persona: Contestant) -> Player:
    title = f"Base model with {len(persona.shots)} examples of {persona.title}"
    return Player(f"{BASE}+{persona.name}", title, BASE, persona.shots, telling=(persona.name, persona.title))


def _described(persona: Contestant) -> Player:
    title = f"Base model with the description of {persona.title}"
    telling = (persona.name, persona.title)
    return Player(f"{BASE}~{persona.name}", title, BASE, system=voice_prompt(persona.voice), telling=telling)


def _guest(system: str, said: str) -> Player:
    return Player(f"{system}{IMPORTED}", system, answer=said, telling=(system,))


def _votes(cells: Cells) -> dict[tuple[str, str, str], int]:
    """Number of votes by first contestant, second contestant and outcome for the first."""
    found: Counter[tuple[str, str, str]] = Counter()
    names = cells.contestants
    for left, right, verdict, count in zip(cells.left, cells.right, cells.verdict, cells.count, strict=True):
        outcome, turned = {LEFT: ("won", "lost"), RIGHT: ("lost", "won")}.get(int(verdict), ("even", "even"))
        found[names[left], names[right], outcome] += int(count)
        found[names[right], names[left], turned] += int(count)
    return found


def _known(match: Match, votes: Counter[tuple[str, str, str]]) -> PairVotes:
    one, other = match.one.name, match.other.name
    wins, losses, even = (votes[one, other, outcome] for outcome in ("won", "lost", "even"))
    return PairVotes(one, other, wins, losses, even)
