"""What the Hub demands of a Space's front matter (https://huggingface.co/docs/hub/spaces-config-reference)."""

from typing import Any

COLOURS = {"red", "yellow", "green", "blue", "indigo", "purple", "pink", "gray"}
SDKS = {"gradio", "docker", "static"}
HEADERS = {
    "cross-origin-embedder-policy": {"unsafe-none", "require-corp", "credentialless"},
    "cross-origin-opener-policy": {"same-origin", "same-origin-allow-popups", "unsafe-none"},
    "cross-origin-resource-policy": {"same-site", "same-origin", "cross-origin"},
}
DESCRIPTION = 60
"""Characters that a short description may have."""


def space_trouble(matter: dict[str, Any]) -> str | None:
    """Why a Space with this front matter is refused."""
    if matter.get("sdk") not in SDKS:
        return '"sdk" must be one of [gradio, docker, static]'
    for name in ("colorFrom", "colorTo"):
        if name in matter and matter[name] not in COLOURS:
            return f'"{name}" must be one of {sorted(COLOURS)}'
    if len(matter.get("short_description", "")) > DESCRIPTION:
        return f'"short_description" length must be less than or equal to {DESCRIPTION} characters long'
    for name, value in matter.get("custom_headers", {}).items():
        if value not in HEADERS.get(name, ()):
            return f'"custom_headers.{name}" is not allowed to be {value}'
    return None
