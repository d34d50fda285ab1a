"""A say in which prompts the arena asks: a file of patterns, a function, or somebody's HTTP endpoint."""

import importlib
import re
from collections.abc import Callable
from pathlib import Path

import httpx

from understudy.errors import ConfigError

TIMEOUT = 5.0
"""Seconds that an endpoint gets."""
REFUSED = "This prompt is not for this stage, so nobody was asked. Please try another one."
UNSURE = "Prompts cannot be looked at right now, so nobody was asked. Please try again in a moment."

Moderate = Callable[[str], str]
"""From a prompt to why it is refused, in words for people; "" lets it through. It may block."""


def everything(prompt: str) -> str:
    """Lets every prompt through."""
    return ""


def moderation(setting: str) -> Moderate:
    """What the setting `moderation` names.

    - empty: every prompt goes through
    - `http://…` or `https://…`: is sent `{"prompt": …}` and answers `{"allowed": true}` or `{"allowed": false}`, and
      perhaps `"message"`; while it does not answer, no prompt goes through
    - `module:function`: a Python function from the prompt to a message, "" lets it through
    - else a file: a regular expression a line, in any case; what one is found in is refused. `#` begins a comment.

    Raises:
        ConfigError: there is no such file or function, or a line is no regular expression.
    """
    if not setting:
        return everything
    if setting.startswith(("http://", "https://")):
        return _endpoint(setting)
    if re.fullmatch(r"[\w.]+:\w+", setting) and not Path(setting).exists():
        return _function(setting)
    return _patterns(Path(setting))


def _endpoint(url: str) -> Moderate:
    def ask(prompt: str) -> str:
        try:
            answer = httpx.post(url, json={"prompt": prompt}, timeout=TIMEOUT).raise_for_status().json()
            allowed, message = answer["allowed"] is True, str(answer.get("message") or REFUSED)
        except (httpx.HTTPError, ValueError, KeyError, TypeError, AttributeError):
            return UNSURE
        return "" if allowed else message

    return ask


def _function(setting: str) -> Moderate:
    module, _, name = setting.partition(":")
    try:
        return getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError) as error:
        raise ConfigError(f"moderation (UNDERSTUDY_MODERATION) {setting!r}: {error}") from error


def _patterns(path: Path) -> Moderate:
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"moderation (UNDERSTUDY_MODERATION) {path}: {error}") from error
    patterns = []
    for number, line in enumerate(map(str.strip, lines), 1):
        if line and not line.startswith("#"):
            try:
                patterns.append(re.compile(line, re.IGNORECASE))
            except re.error as error:
                raise ConfigError(f"{path}, line {number}: no regular expression: {error}") from error
    return lambda prompt: REFUSED if any(pattern.search(prompt) for pattern in patterns) else ""
