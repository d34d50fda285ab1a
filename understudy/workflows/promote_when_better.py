"""`understudy promote --when-better`: votes decide, by a sequential test that stays valid however often one looks."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from understudy.config.settings import Settings
from understudy.errors import GatewayError, NotFoundError
from understudy.registry.adapters import short
from understudy.registry.events import actor
from understudy.registry.records import Event
from understudy.registry.registry import Registry, open_registry
from understudy.workflows.gateway_admin import AdminClient

if TYPE_CHECKING:
    from arena.ranking.trial_evidence import TrialEvidence

POLL_SECONDS = 2.0
"""Seconds between two looks at the votes."""


@dataclass(frozen=True)
class TrialOutcome:
    """How a trial ended, or that it goes on."""

    kind: Literal["promoted", "not yet", "worse"]
    name: str
    """The revision on trial, as persona@revision."""
    previous: str
    """The revision that was live during the trial."""
    reason: str = ""
    ended_by: str = ""
    """Who ended the trial meanwhile, a person or the gateway; empty when it was this command, or nobody."""


@dataclass(frozen=True)
class _Trial:
    persona: str
    candidate: str
    live: str

    @property
    def name(self) -> str:
        return f"{self.persona}@{short(self.candidate)}"


def promote_when_better(
    settings: Settings,
    persona: str,
    *,
    alpha: float,
    timeout: float,
    on_evidence: "Callable[[str, TrialEvidence], None]" = lambda name, evidence: None,
) -> TrialOutcome:
    """Waits until votes prove the revision on trial better (and promotes it) or worse, at most `timeout` seconds.

    Meanwhile the gateway does not promote it for want of evidence against it; it still withdraws it when it fails.
    `alpha` is the chance to promote a revision that is no better. `on_evidence` gets the revision's name and what the
    votes say, each time that this changes.

    Raises:
        NotFoundError: nothing is on trial.
        GatewayError: the gateway cannot be reached.
    """
    registry = open_registry(settings)
    known = registry.persona(persona)
    if known.candidate is None or known.live is None:
        raise NotFoundError(f"{persona} has no revision on trial; begin one with `understudy publish --canary 10%`")
    trial = _Trial(persona, known.candidate, known.live)
    deadline = time.monotonic() + timeout
    try:
        outcome = _watch(registry, AdminClient(settings), trial, alpha, deadline, on_evidence)
    except GatewayError:
        if registry.persona(persona).candidate == trial.candidate:
            raise
        outcome = None  # the trial ended after the votes were read and before the gateway was asked
    return outcome or _ended(registry, trial)


def _watch(
    registry: Registry,
    admin: AdminClient,
    trial: _Trial,
    alpha: float,
    deadline: float,
    on_evidence: "Callable[[str, TrialEvidence], None]",
) -> TrialOutcome | None:
    """Reads the votes until they decide, or until the deadline; None when somebody else ended the trial."""
    from arena.ranking.trial_evidence import trial_evidence
    from arena.votes.votes import votes_about

    began = _last_event(registry, trial, "canary").at
    shown = ""
    while registry.persona(trial.persona).candidate == trial.candidate:
        admin.hold(trial.persona)
        votes = votes_about(registry.engine, trial.persona)
        evidence = trial_evidence(votes, trial.candidate, trial.live, began, alpha=alpha)
        if str(evidence) != shown:
            shown = str(evidence)
            on_evidence(trial.name, evidence)
        if evidence.better >= 1 / alpha:
            admin.promote(trial.persona, actor(), reason=f"better: {evidence}"[:200])
            return TrialOutcome("promoted", trial.name, trial.live)
        if evidence.worse >= 1 / alpha or evidence.direct.verdict == "give up":
            return TrialOutcome("worse", trial.name, trial.live, reason=evidence.direct.reason)
        if time.monotonic() >= deadline:
            return TrialOutcome("not yet", trial.name, trial.live)
        time.sleep(min(POLL_SECONDS, max(0.0, deadline - time.monotonic())))
    return None


def _ended(registry: Registry, trial: _Trial) -> TrialOutcome:
    """Returns how somebody else, or the gateway, ended the trial."""
    event = _last_event(registry, trial, "promote", "withdraw", "publish", "rollback", "canary")
    live = registry.persona(trial.persona).live == trial.candidate
    reason = event.detail.get("reason", event.action)
    return TrialOutcome("promoted" if live else "worse", trial.name, trial.live, reason, ended_by=event.actor)


def _last_event(registry: Registry, trial: _Trial, *actions: str) -> Event:
    event = registry.last(trial.persona, trial.candidate, *actions)
    assert event is not None, "a revision on trial has an event"
    return event
