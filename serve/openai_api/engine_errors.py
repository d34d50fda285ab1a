"""Turns the engine's refusals into one line that names the model that was asked."""

import ast
import json
import re
from typing import Any

LISTED = re.compile(r"\d+ validation errors?:\n")
PAGE = re.compile(r"\d+ validation errors? for ")
CAUSE = re.compile(r"\n  (?P<why>[^\n\[]+?) \[type=\w+, input_value=(?P<found>.{1,80}?), input_type=")
OF_BASE = re.compile(r"(?<![\w/@.-])base(?![\w/@.-])(?! model)")
LONGEST = 600
"""Characters of a message."""


def one_line(body: bytes, *, asked: str, engine_name: str) -> bytes:
    """Rewrites the engine's error; a body in another form is left alone.

    `asked` is the model's name in the request, `engine_name` the one that the engine knows.
    """
    try:
        document = json.loads(body)
        error: dict[str, Any] = document["error"]
        message = str(error["message"])
    except (ValueError, KeyError, TypeError):
        return body
    if LISTED.match(message):
        message = _listed(message)
    elif PAGE.match(message):
        message = _page(message)
    if asked != "base":
        message = OF_BASE.sub(lambda _: asked, message.replace(engine_name, asked))
    error["message"] = " ".join(message.split())[:LONGEST]
    if isinstance(error.get("param"), str):
        error["param"] = error["param"].removeprefix("body.")
    return json.dumps(document).encode()


def _listed(message: str) -> str:
    """`2 validation errors:` and one dictionary a line: what was found in the first field, and what may be there."""
    errors = [found for line in message.splitlines()[1:] if (found := _dictionary(line.strip()))]
    if not errors:
        return message
    place = str(errors[0].get("loc", "")).removeprefix("body.")
    same = [one for one in errors if one.get("loc") == errors[0].get("loc")]
    causes = dict.fromkeys(str(one.get("msg", "")).removeprefix("Value error, ") for one in same)
    wanted = " or ".join(cause[0].lower() + cause[1:] for cause in list(causes)[:3] if cause)
    return f"{place!r}: {wanted}, found {str(errors[0].get('input', ''))!r:.80}"


def _page(message: str) -> str:
    """Pydantic's own pages: the first cause."""
    found = CAUSE.search(message)
    return f"{found['why']}, found {found['found']}" if found else message.partition("\n")[0]


def _dictionary(text: str) -> dict[str, Any]:
    try:
        found = ast.literal_eval(text)
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}
