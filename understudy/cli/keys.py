"""`understudy keys create`, `list` and `revoke`."""

import json

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from understudy.config.settings import Settings
from understudy.registry.actor import actor
from understudy.registry.api_keys import Key, Kind, open_keys

console = Console(highlight=False)
aside = Console(highlight=False, stderr=True, soft_wrap=True)


def create_key(settings: Settings, name: str, kind: Kind, limits: dict[str, int]) -> None:
    """Prints the new secret, alone, to standard output, and what it is to standard error."""
    key, secret = open_keys(settings).create(name, kind, **limits, created_by=actor())
    print(secret)
    aside.print(
        f"{key.kind} key {key.id} for {escape(key.name)}, {_limits(key)}. It is shown this once and not kept: "
        "store it now. Send it as 'Authorization: Bearer KEY'.",
    )


def list_keys(settings: Settings, *, json_output: bool) -> None:
    """A table of keys, or JSON."""
    keys = open_keys(settings).list()
    if json_output:
        print(json.dumps([key.model_dump(mode="json") for key in keys], indent=2))
        return
    table = Table("id", "name", "kind", "limits", "created (UTC)", "by", "revoked (UTC)", box=None, pad_edge=False)
    for key in keys:
        created = f"{key.created_at:%Y-%m-%d %H:%M}"
        revoked = f"{key.revoked_at:%Y-%m-%d %H:%M} by {key.revoked_by}" if key.revoked_at else "-"
        cells = (key.id, key.name, key.kind, _limits(key), created, key.created_by, revoked)
        table.add_row(*map(escape, cells))
    console.print(table)


def revoke_key(settings: Settings, key: str) -> None:
    """Ends a key."""
    revoked = open_keys(settings).revoke(key, by=actor())
    aside.print(f"revoked: {revoked.id} ({escape(revoked.name)}); a running gateway refuses it within 2 s")


def _limits(key: Key) -> str:
    named = {
        "requests/min": key.requests_per_minute,
        "tokens/min": key.tokens_per_minute,
        "at once": key.max_concurrent,
    }
    return ", ".join(f"{value:,} {name}" for name, value in named.items() if value) or "no limits"
