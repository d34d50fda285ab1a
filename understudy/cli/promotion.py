"""`understudy promote --when-better`: votes decide, by a test that stays honest however often one looks."""

import time
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING

from rich.console import Console

from understudy.adapters import short
from understudy.cli.admin import AdminClient
from understudy.cli.training import actor
from understudy.errors import NotFoundError
from understudy.evidence import MoreOften, majority
from understudy.registry import Event, Registry, open_registry
from understudy.settings import Settings

if TYPE_CHECKING:
    from collections.abc import Sequence

    from arena.preferences import Spoken, Voted

console = Console(highlight=False, soft_wrap=True)
PROMOTED, NOT_YET, WORSE = 0, 3, 4
"""How the command ends."""
LOOK = 2.0
"""Seconds between two looks at the votes."""


@dataclass(frozen=True)
class Standing:
    """What the votes since a trial began say about the revision on trial and the live one."""

    wins: int
    losses: int
    """Decisive votes in battles of the two against each other."""
    trial: tuple[int, int]
    """Wins and decisive votes of the one on trial against others."""
    live: tuple[int, int]
    better: float
    """E-value against "it is no better"."""
    worse: float
    """E-value against "it is no worse"."""

    def __str__(self) -> str:
        direct = f"{self.wins} wins, {self.losses} losses against the live revision"
        others = f"; against others {self.trial[0]} of {self.trial[1]}, the live one {self.live[0]} of {self.live[1]}"
        return f"{direct}{others if self.trial[1] else ''}; evidence {self.better:.3g} for, {self.worse:.3g} against"


def promote_when_better(settings: Settings, persona: str, *, alpha: float, timeout: float) -> int:
    """Waits until votes prove the revision on trial better (and promotes it) or worse, or for `timeout` seconds.

    Meanwhile the gateway does not promote it for want of evidence against it; it still withdraws it when it fails.

    Raises:
        NotFoundError: nothing is on trial.
        GatewayError: the gateway cannot be reached.
    """
    registry, admin = open_registry(settings), AdminClient(settings)
    candidate, live = _trial(registry, persona)
    began = _event(registry, persona, candidate, "canary").at
    deadline = time.monotonic() + timeout
    told = ""
    while True:
        if registry.persona(persona).candidate != candidate:
            return _ended(registry, persona, candidate)
        admin.hold(persona)
        standing = stand(_votes(registry, persona), candidate, live, began)
        if str(standing) != told:
            told = str(standing)
            console.print(f"{persona}@{short(candidate)}: {told}")
        if standing.better >= 1 / alpha:
            admin.promote(persona, actor(), reason=f"better: {standing}"[:200])
            console.print(f"promoted: {persona}@{short(candidate)} is live (was {short(live)})")
            return PROMOTED
        if standing.worse >= 1 / alpha:
            console.print(f"worse: {persona}@{short(candidate)}; withdraw it with `understudy rollback {persona}`")
            return WORSE
        if time.monotonic() >= deadline:
            console.print(f"not yet: it takes evidence of {1 / alpha:g}; the trial goes on")
            return NOT_YET
        time.sleep(min(LOOK, max(0.0, deadline - time.monotonic())))


def stand(voted: "Sequence[Voted]", candidate: str, live: str, since: datetime) -> Standing:
    """How the two revisions stand after the votes cast `since` then.

    Direct battles are tested by `understudy.evidence.majority`, battles of each against others by `MoreOften`. Both
    are e-values, whatever one bet while the other ran, and so is their mean (Vovk and Wang, arXiv:1912.06116).
    Replays are left out: several votes on the same answers are not independent.
    """
    wins = losses = 0
    wins_more, loses_more = MoreOften(), MoreOften()
    for one in voted:
        if one.at < since or one.replay or one.verdict not in ("left", "right"):
            continue
        won, lost = (one.left, one.right) if one.verdict == "left" else (one.right, one.left)
        sides = {_which(won, candidate, live): True, _which(lost, candidate, live): False}
        if {"candidate", "live"} <= set(sides):
            wins, losses = wins + sides["candidate"], losses + (not sides["candidate"])
        elif "candidate" in sides:
            wins_more.see_trial(sides["candidate"])
            loses_more.see_trial(not sides["candidate"])
        elif "live" in sides:
            wins_more.see_incumbent(sides["live"])
            loses_more.see_incumbent(not sides["live"])
    return Standing(
        wins=wins,
        losses=losses,
        trial=wins_more.trial,
        live=wins_more.incumbent,
        better=(majority(wins, losses) + wins_more.e_value) / 2,
        worse=(majority(losses, wins) + loses_more.e_value) / 2,
    )


def _which(spoken: "Spoken", candidate: str, live: str) -> str:
    revision = spoken.revision or ""
    if revision and candidate.startswith(revision):
        return "candidate"
    return "live" if revision and live.startswith(revision) else "other"


def _votes(registry: Registry, persona: str) -> "Sequence[Voted]":
    from arena.preferences import voted_battles

    return voted_battles(registry.engine, persona)


def _trial(registry: Registry, persona: str) -> tuple[str, str]:
    known = registry.persona(persona)
    if known.candidate is None or known.live is None:
        raise NotFoundError(f"{persona} has no revision on trial; begin one with `understudy publish --canary 10%`")
    return known.candidate, known.live


def _event(registry: Registry, persona: str, revision: str, *actions: str) -> Event:
    return next(e for e in registry.history(persona) if e.revision == revision and e.action in actions)


def _ended(registry: Registry, persona: str, candidate: str) -> int:
    """Somebody else, or the gateway, ended the trial: says how."""
    event = _event(registry, persona, candidate, "promote", "withdraw", "publish", "rollback", "canary")
    good = registry.persona(persona).live == candidate
    said = "promoted" if good else "withdrawn"
    console.print(f"{said} by {event.actor}: {persona}@{short(candidate)}, {event.detail.get('reason', event.action)}")
    return PROMOTED if good else WORSE
