"""Checks that an adapter was trained on the served base: by name and pinned revision, never by shapes."""

import re
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict

from serve.adapter_files.base_names import MIRRORS, current_name, same_owner, without_precision
from understudy.bases import Base, base_revision

SNAPSHOT = re.compile(r"(?:.*/)?models--([^/]+?)--([^/]+)/snapshots/([0-9a-f]{7,64})/?")
"""The Hub client's cache of a repository: .../models--Org--Name/snapshots/<commit>/."""

COMMIT = re.compile(r"[0-9a-f]{7,64}")
"""A pin. A branch or a tag (`main`, `v1.0`) can move, so it pins nothing."""


class Origin(BaseModel):
    """The parts of a base's name that tell where it comes from."""

    model_config = ConfigDict(frozen=True)

    owner: str
    """Empty for a name without an owner, such as `gpt2` or `tiny`."""
    name: str
    """As it is called now, in lower case, without the mark of a quantised copy; for a local folder its path."""
    path: bool = False
    commit: str = ""
    copied: bool = False
    """A quantised or renamed copy: its commits are not those of the original."""


def check_base(config: dict[str, Any], base: Base) -> list[str]:
    """Why the adapter does not belong to `base`; empty when it does. Only names and pins count, never shapes."""
    named, pin = config.get("base_model_name_or_path"), config.get("revision")
    if not isinstance(named, str) or not named:
        return [f"it does not say which base it was trained on: base_model_name_or_path is {named!r}"]
    if pin is not None and not isinstance(pin, str):
        return [f"revision is {pin!r}; it must be the base's commit, or null"]
    served, pin = base_revision(base), pin if pin and COMMIT.fullmatch(pin) else ""
    if base.public_name != base.name and same_model(origin(named), origin(base.public_name)):
        return []  # pins are commits of the Hub there and a hash of the weights here: they cannot be compared
    if base.local and _same_folder(named, base):
        return _check_pin(pin, served, base)
    trained, wanted = origin(named), origin(base.name)
    if base.local and trained.path and pin and pin == served:
        return []  # the hash of the weights decides, whatever the folder's name on the other machine
    if not same_model(trained, wanted):
        return [f"it was trained on base {named!r}, but {base.name!r} is served{_way_out(trained, base)}"]
    if trained.copied or wanted.copied or trained.owner != wanted.owner:
        return []
    served = wanted.commit or ("" if base.local else served)
    return [problem for p in (pin, trained.commit) for problem in _check_pin(p, served, base)][:1]


def origin(name: str) -> Origin:
    """Parses a base's name; a path into the Hub's cache is read as the repository that it holds."""
    commit = ""
    if match := SNAPSHOT.fullmatch(name):
        name, commit = f"{match[1]}/{match[2]}", match[3]
    elif name.startswith(("/", ".", "~")) or name.rstrip("/").count("/") > 1 or "\\" in name:
        return Origin(owner="", name=name.rstrip("/"), path=True)
    owner, _, plain = name.rstrip("/").lower().rpartition("/")
    original = without_precision(plain)
    now = current_name(owner, original)
    copied = original != plain or (owner in MIRRORS and (owner, original) != now)
    return Origin(owner=now[0], name=now[1], commit=commit, copied=copied)


def same_model(one: Origin, other: Origin) -> bool:
    """Whether two names mean the same weights: earlier names, quantised copies and known mirrors included."""
    return one.name == other.name and same_owner(one.owner, other.owner)


def _way_out(trained: Origin, base: Base) -> str:
    if not trained.path:
        return f"; train it on {base.name}, or say --base-is {base.name} if these are the same weights by another name"
    return f"; if that folder holds the same weights, say so: --base-is {base.name}"


def _same_folder(named: str, base: Base) -> bool:
    if named == base.location or base.is_called(named):
        return True
    try:
        return Path(named).is_absolute() and Path(named).resolve() == Path(base.location).resolve()
    except (OSError, ValueError, RuntimeError):  # a name that no file system accepts
        return False


def _check_pin(pin: str, served: str | None, base: Base) -> list[str]:
    if not pin or not served or pin.startswith(served) or served.startswith(pin):
        return []
    return [f"it was trained on another build of {base.name} ({pin}; served is {served}); train it again"]
