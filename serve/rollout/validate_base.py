"""Checks that an adapter was trained on the served base: by name and pinned revision, never by shapes."""

import re
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict

from understudy.bases import Base, base_revision

SNAPSHOT = re.compile(r"(?:.*/)?models--([^/]+?)--([^/]+)/snapshots/([0-9a-f]{7,64})/?")
"""The Hub client's cache of a repository: .../models--Org--Name/snapshots/<commit>/."""

QUANTISED = re.compile(r"(?:(?:-unsloth)?-bnb-[48]bit|-awq|-gptq(?:-int[48])?|-fp8)$")
"""Endings of copies with the same weights at a lower precision."""

MIRROR = "unsloth"
MIRRORED = {
    *("qwen", "meta-llama", "mistralai", "google", "microsoft", "huggingfacetb"),
    *("deepseek-ai", "ibm-granite", "tinyllama", "allenai", "tiiuae"),
}
"""Whose models `unsloth/NAME` copies under their own NAME. Anybody else's NAME is another model."""

COMMIT = re.compile(r"[0-9a-f]{7,64}")
"""A pin. A branch or a tag (`main`, `v1.0`) can move, so it pins nothing."""


class Origin(BaseModel):
    """The parts of a base's name that tell where it comes from."""

    model_config = ConfigDict(frozen=True)

    owner: str
    """Empty for a name without an owner, such as `gpt2` or `tiny`."""
    name: str
    """Lower case, without the mark of a quantised copy; for a local folder its path as it is."""
    path: bool = False
    commit: str = ""
    copied: bool = False
    """A quantised copy or a mirror: its commits are not those of the original."""


def check_base(config: dict[str, Any], base: Base) -> list[str]:
    """Why the adapter does not belong to `base`; empty when it does."""
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
        return [f"it was trained on base {named!r}, but {base.name!r} is served"]
    if trained.copied or wanted.copied:
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
    original = QUANTISED.sub("", plain)
    return Origin(owner=owner, name=original, commit=commit, copied=original != plain or owner == MIRROR)


def same_model(one: Origin, other: Origin) -> bool:
    """Whether two names mean the same weights, quantised copies and known mirrors included."""
    if one.name != other.name:
        return False
    owners = {one.owner, other.owner}
    return len(owners) == 1 or (MIRROR in owners and bool(owners & MIRRORED))


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
