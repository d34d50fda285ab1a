"""What the commands on personas show: the list, the history, a change of the live revision, a trial, a push."""

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from rich.table import Table

from understudy.cli.console import out
from understudy.registry.adapters import short
from understudy.registry.records import Event
from understudy.terminal import one_line
from understudy.workflows.gateway_admin import RevisionChange
from understudy.workflows.personas import PersonaSummary
from understudy.workflows.promote_when_better import TrialOutcome

if TYPE_CHECKING:
    from understudy.registry.api_keys import Key
    from understudy.workflows.push import HubRelease


def show_personas(personas: Sequence[PersonaSummary]) -> None:
    """Prints a table of recipes and personas."""
    table = Table(box=None, pad_edge=False)
    for header in ("persona", "live", "on trial", "newest", "from"):
        table.add_column(header, no_wrap=True)
    table.add_column("voice")
    for one in personas:
        trial = f"{100 * one.share:g}% {short(one.candidate)}" if one.candidate else "-"
        newest = short(one.newest) or "not trained"
        table.add_row(*map(one_line, (one.name, short(one.live) or "-", trial, newest, one.source or "-", one.voice)))
    out.print(table)


def show_history(events: Sequence[Event], *, more: bool) -> None:
    """Prints a table of events; `more` says that there are older ones."""
    table = Table("when (UTC)", "who", "what", "revision", "detail", box=None, pad_edge=False)
    for event in events:
        when = event.at.strftime("%Y-%m-%d %H:%M:%S")
        details = "; ".join(_details(event.detail))
        table.add_row(*map(one_line, (when, event.actor, event.action, short(event.revision or "-"), details)))
    out.print(table)
    if more:
        out.print(f"these are the newest {len(events)}; --limit 0 shows all")


def show_published(change: RevisionChange) -> None:
    """Prints which revision is live or on trial now, and since when it was."""
    name = f"{change.persona}@{short(change.revision)}"
    if not change.changed:
        out.print(f"{name} is {'live' if change.share == 1 else 'on trial'} already")
    elif change.share < 1:
        out.print(
            f"on trial: {name} for {100 * change.share:g}% of the users, in {change.seconds:.2f} s; "
            "end it with `understudy promote` or `understudy rollback`"
        )
    else:
        show_live(change)


def show_live(change: RevisionChange) -> None:
    """Prints the live revision, the one before, and how long the change took."""
    previous = f" (was {short(change.previous)})" if change.previous else ""
    out.print(f"live: {change.persona}@{short(change.revision)}{previous}, in {change.seconds:.2f} s")


def show_evidence(name: str, evidence: object) -> None:
    """Prints what the votes say about a revision on trial."""
    out.print(f"{name}: {evidence}")


def show_trial(outcome: TrialOutcome, *, alpha: float) -> None:
    """Prints how a trial ended, or that it goes on."""
    promoted = outcome.kind == "promoted"
    if outcome.ended_by:
        verb = "promoted" if promoted else "withdrawn"
        out.print(f"{verb} by {outcome.ended_by}: {outcome.name}, {outcome.reason}")
    elif promoted:
        out.print(f"promoted: {outcome.name} is live (was {short(outcome.previous)})")
    elif outcome.kind == "worse":
        persona = outcome.name.partition("@")[0]
        out.print(f"no better: {outcome.reason}; withdraw it with `understudy rollback {persona}`")
    else:
        out.print(f"not yet: promotion takes evidence of {1 / alpha:g}; the trial goes on")


def show_release(persona: str, release: "HubRelease") -> None:
    """Prints what is on the Hub now, and how to check it."""
    pushed = release.pushed
    what = f"pushed {persona}" if pushed.new else "already there"
    out.print(f"{what} as {pushed.tag}, commit {short(pushed.commit)}: {pushed.url}")
    out.print(
        f"A gateway that follows {pushed.repo} (personas.yaml) publishes it by itself; to check it first: "
        f"understudy validate {pushed.repo}@{pushed.tag}",
        style="dim",
    )


def show_keys(keys: "Sequence[Key]") -> None:
    """Prints a table of the gateway's keys, without their secrets."""
    table = Table("id", "name", "kind", "limits", "created (UTC)", "by", "revoked (UTC)", box=None, pad_edge=False)
    for key in keys:
        created = f"{key.created_at:%Y-%m-%d %H:%M}"
        revoked = f"{key.revoked_at:%Y-%m-%d %H:%M} by {key.revoked_by}" if key.revoked_at else "-"
        table.add_row(*map(one_line, (key.id, key.name, key.kind, key_limits(key), created, key.created_by, revoked)))
    out.print(table)


def key_limits(key: "Key") -> str:
    """Returns a key's limits in words."""
    named = {
        "requests/min": key.requests_per_minute,
        "tokens/min": key.tokens_per_minute,
        "at once": key.max_concurrent,
    }
    return ", ".join(f"{value:,} {name}" for name, value in named.items() if value) or "no limits"


def _details(detail: dict[str, Any]) -> Iterator[str]:
    """Yields the details of an event in words, one fact at a time."""
    for key, value in detail.items():
        if key == "reasons":
            yield from value
        elif key == "checks":
            yield from (f"{name.replace('_', ' ')} {figure}" for name, figure in value.items() if figure is not None)
        elif key == "share":
            yield f"{100 * value:g}% of the users"
        elif value is not None:
            yield f"{key} {short(value) if key == 'previous' else value}"
