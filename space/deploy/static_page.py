"""The files of a Static Space: a page that `understudy export --to web` wrote, unchanged since its proof."""

import hashlib
import json
from pathlib import Path
from typing import Any

from understudy.errors import DeployError

RECORD, README, SITE = "export.json", "README.md", "personas.json"


def page_files(folder: Path) -> dict[str, bytes]:
    """Path and content of each file of the page, without its README.md.

    Raises:
        DeployError: there is no page, or a file is not the one that was proved.
    """
    record = _read(folder, RECORD)
    if record.get("form") != "web":
        raise DeployError(f"{folder}: {RECORD} is not that of a page: write one with `understudy export --to web`")
    found = {RECORD: (folder / RECORD).read_bytes()}
    for path, expected in record["sha256"].items():
        content = (folder / path).read_bytes() if (folder / path).is_file() else b""
        if hashlib.sha256(content).hexdigest() != expected:
            raise DeployError(f"{folder}: {path} is not the file that was proved: export the page again")
        found[path] = content
    return found


def page_text(folder: Path) -> str:
    """The page's README.md without its front matter."""
    return (folder / README).read_text(encoding="utf-8").split("\n---\n\n", 1)[-1]


def page_base(folder: Path) -> str:
    """The public name of the page's base. Raises DeployError."""
    return str(_read(folder, SITE)["base"]["name"])


def _read(folder: Path, name: str) -> dict[str, Any]:
    try:
        return json.loads((folder / name).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        raise DeployError(f"{folder}: no page there; write one with `understudy export PERSONA --to web`") from None
