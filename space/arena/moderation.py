"""Decides which prompts the arena takes: by a file of patterns, a function, or an HTTP endpoint."""

import importlib
import re
from collections.abc import Callable
from pathlib import Path

import httpx

from space.i18n import NO_NOTICE, Notice
from understudy.errors import ConfigError

TIMEOUT = 5.0
"""Seconds that an endpoint gets."""
ALLOWED = NO_NOTICE
REFUSED = Notice("arena_prompt_refused")
UNKNOWN = Notice("arena_moderation_down")
"""While the endpoint does not answer, no prompt is asked."""

Moderate = Callable[[str], Notice]
"""From a prompt to why it is refused; an empty notice lets it through. It may block."""


def allow_everything(prompt: str) -> Notice:
    """Lets every prompt through."""
    return ALLOWED


def moderation(setting: str) -> Moderate:
    """The moderator that the setting `moderation` names.

    - empty: every prompt goes through
    - `http://…` or `https://…`: is sent `{"prompt": …}` and answers `{"allowed": true}` or `{"allowed": false}`, and
      perhaps `"message"`; while it does not answer, no prompt goes through
    - `module:function`: a Python function from the prompt to a message, "" lets it through
    - else a file: one regular expression per line, in any case; a prompt that one is found in is refused. `#` begins
      a comment.

    Raises:
        ConfigError: there is no such file or function, or a line is no regular expression.
    """
    if not setting:
        return allow_everything
    if setting.startswith(("http://", "https://")):
        return _endpoint(setting)
    if re.fullmatch(r"[\w.]+:\w+", setting) and not Path(setting).exists():
        return _function(setting)
    return _patterns(Path(setting))


def _endpoint(url: str) -> Moderate:
    def ask(prompt: str) -> Notice:
        try:
            answer = httpx.post(url, json={"prompt": prompt}, timeout=TIMEOUT).raise_for_status().json()
            allowed, message = answer["allowed"] is True, str(answer.get("message") or "")
        except (httpx.HTTPError, ValueError, KeyError, TypeError, AttributeError):
            return UNKNOWN
        if allowed:
            return ALLOWED
        return Notice(words=message) if message else REFUSED

    return ask


def _function(setting: str) -> Moderate:
    module, _, name = setting.partition(":")
    try:
        function: Callable[[str], str] = getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError) as error:
        raise ConfigError(f"moderation (UNDERSTUDY_MODERATION) {setting!r}: {error}") from error
    return lambda prompt: Notice(words=function(prompt))


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
    return lambda prompt: REFUSED if any(pattern.search(prompt) for pattern in patterns) else ALLOWED
