"""`understudy promote --when-better`: votes decide, by a test that stays honest however often one looks."""

import time

from rich.console import Console

from understudy.cli.admin import AdminClient
from understudy.config.settings import Settings
from understudy.errors import GatewayError, NotFoundError
from understudy.registry.actor import actor
from understudy.registry.adapters import short
from understudy.registry.registry import Event, Registry, open_registry

console = Console(highlight=False, soft_wrap=True)
PROMOTED, NOT_YET, WORSE = 0, 3, 4
"""How the command ends."""
LOOK = 2.0
"""Seconds between two looks at the votes."""


def promote_when_better(settings: Settings, persona: str, *, alpha: float, timeout: float) -> int:
    """Waits until votes prove the revision on trial better (and promotes it) or worse, or for `timeout` seconds.

    Meanwhile the gateway does not promote it for want of evidence against it; it still withdraws it when it fails.

    Raises:
        NotFoundError: nothing is on trial.
        GatewayError: the gateway cannot be reached.
    """

    registry = open_registry(settings)
    candidate, live = _trial(registry, persona)
    deadline = time.monotonic() + timeout
    try:
        code = _watch(registry, AdminClient(settings), (persona, candidate, live), alpha, deadline)
    except GatewayError:
        if registry.persona(persona).candidate == candidate:
            raise
        code = None  # it ended between a look and a call
    return _ended(registry, persona, candidate) if code is None else code


def _watch(
    registry: Registry, admin: AdminClient, what: tuple[str, str, str], alpha: float, deadline: float
) -> int | None:
    """Looks at the votes until they decide; None when the trial ended without us."""
    from arena.preferences import voted_battles
    from arena.ranking.trial_evidence import stand

    persona, candidate, live = what
    began = _last(registry, persona, candidate, "canary").at
    name, told = f"{persona}@{short(candidate)}", ""
    while registry.persona(persona).candidate == candidate:
        admin.hold(persona)
        standing = stand(voted_battles(registry.engine, persona), candidate, live, began, alpha=alpha)
        if str(standing) != told:
            told = str(standing)
            console.print(f"{name}: {told}")
        if standing.better >= 1 / alpha:
            admin.promote(persona, actor(), reason=f"better: {standing}"[:200])
            console.print(f"promoted: {name} is live (was {short(live)})")
            return PROMOTED
        if standing.worse >= 1 / alpha or standing.direct.verdict == "give up":
            console.print(f"no better: {standing.direct.reason}; withdraw it with `understudy rollback {persona}`")
            return WORSE
        if time.monotonic() >= deadline:
            console.print(f"not yet: promotion takes evidence of {1 / alpha:g}; the trial goes on")
            return NOT_YET
        time.sleep(min(LOOK, max(0.0, deadline - time.monotonic())))
    return None


def _trial(registry: Registry, persona: str) -> tuple[str, str]:
    known = registry.persona(persona)
    if known.candidate is None or known.live is None:
        raise NotFoundError(f"{persona} has no revision on trial; begin one with `understudy publish --canary 10%`")
    return known.candidate, known.live


def _last(registry: Registry, persona: str, revision: str, *actions: str) -> Event:
    event = registry.last(persona, revision, *actions)
    assert event is not None, "whoever was on trial has an event"
    return event


def _ended(registry: Registry, persona: str, candidate: str) -> int:
    """Somebody else, or the gateway, ended the trial: says how."""
    event = _last(registry, persona, candidate, "promote", "withdraw", "publish", "rollback", "canary")
    good = registry.persona(persona).live == candidate
    why = event.detail.get("reason", event.action)
    console.print(f"{'promoted' if good else 'withdrawn'} by {event.actor}: {persona}@{short(candidate)}, {why}")
    return PROMOTED if good else WORSE
