"""The public name of a base: its Hub id and commit, never a path of this machine."""

import re
from dataclasses import dataclass
from pathlib import Path

from understudy.bases import SMOLLM2, TINY, TINY_DIR, base_revision, known_base, resolve_base
from understudy.bases.catalogue import OLD_NAMES
from understudy.config.settings import load_settings
from understudy.errors import AdapterError
from understudy.registry.adapters import COMMIT

CACHED = re.compile(r".*models--([^/]+?)--([^/]+)/snapshots/([0-9a-f]{40})/?")
"""Where the Hub's client keeps a repository: .../models--Org--Name/snapshots/<commit>/."""


@dataclass(frozen=True)
class PublicBase:
    """A base as a card and a configuration name it."""

    name: str
    revision: str | None
    """A commit for a base on the Hub, else the first 12 hex digits of the SHA-256 of its weights."""
    hub: bool
    """Whether `name` is a Hub id."""


def public_base(named: str, pin: str | None = None, asked: str = "") -> PublicBase:
    """Return the public name of the base that an adapter's configuration names (`named`, `pin`).

    Args:
        asked: the base's Hub id as the user gave it, which goes first.

    Raises:
        AdapterError: `named` or `asked` is a folder of this machine; nobody else could know what is in it.
    """
    if asked:
        if asked.startswith(("/", "~")) or asked.count("/") != 1 or not all(asked.split("/")):
            raise AdapterError(f"--base {asked!r}: give the Hub id of the base, such as Qwen/Qwen3-0.6B")
        return PublicBase(asked, pin if pin and COMMIT.fullmatch(pin) else None, hub=True)
    if cached := CACHED.fullmatch(named):
        return PublicBase(f"{cached[1]}/{cached[2]}", cached[3], hub=True)
    if named == SMOLLM2 or _same(Path(named), load_settings().bases_dir / SMOLLM2):
        return _smollm2()
    if named in OLD_NAMES or named == TINY or _same(Path(named), TINY_DIR):
        return PublicBase(TINY, pin or base_revision(resolve_base(TINY)), hub=False)
    if named.startswith(("/", ".", "~")) or named.count("/") > 1 or "\\" in named or Path(named).is_dir():
        folder = re.split(r"[/\\]", named.rstrip("/\\"))[-1]
        raise AdapterError(f"its base is a folder of one machine ({folder}); name the model on the Hub with --base")
    return PublicBase(named, pin, hub=True)


def _smollm2() -> PublicBase:
    """Return the model on the Hub that `smollm2` derives from; no commit, as the weights are our copy."""
    known = known_base(SMOLLM2)
    assert known is not None
    return PublicBase(known.hub_id, None, hub=True)


def _same(one: Path, other: Path) -> bool:
    return one.is_absolute() and one.resolve() == other.resolve()
