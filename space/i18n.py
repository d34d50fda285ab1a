"""The page in people's own language: one table of texts for each, in `space/texts/`.

`t(key)` is for labels of the layout: the browser puts in its own language. `say(key, language, **values)` is for what a
handler says: `language_of(request)` tells the visitor's language. `reword` is for sentences from elsewhere.
"""

import functools
import html
import json
import re
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import gradio as gr
from gradio.i18n import I18nData

ENGLISH = "en"
LANGUAGES = (ENGLISH, "de", "fr")
TABLES = Path(__file__).parent / "texts"
PLACE = re.compile(r"\{(\w+)\}")


@functools.cache
def table(language: str) -> dict[str, str]:
    """Every text of one language, by key."""
    return json.loads((TABLES / f"{language}.json").read_text(encoding="utf-8"))


def t(key: str) -> I18nData:
    """A label that the browser translates. In `value`, `label`, `info` and `placeholder` only, and alone there.

    Raises:
        KeyError: there is no such text.
    """
    if key not in table(ENGLISH):
        raise KeyError(f"{key}: no such text in {TABLES / 'en.json'}")
    return I18nData(key)


def say(key: str, language: str = ENGLISH, **values: object) -> str:
    """The text in that language; each `{name}` in it becomes the value, which is escaped where it is a `str`.

    Raises:
        KeyError: there is no such text, or a value is missing.
    """
    text = table(language if language in LANGUAGES else ENGLISH)[key]
    safe = {
        name: html.escape(value, quote=False) if isinstance(value, str) else value for name, value in values.items()
    }
    return PLACE.sub(lambda place: str(safe[place[1]]), text)


def reword(english: str, language: str) -> str:
    """A sentence that other modules say in English, in that language where the tables have it; not escaped."""
    if language == ENGLISH or language not in LANGUAGES:
        return english
    for key, pattern in _sentences():
        if found := pattern.fullmatch(english):
            return PLACE.sub(lambda place: reword(found[place[1]], language), table(language)[key])
    return english


def language_of(request: gr.Request | None) -> str:
    """`?lang=` of the page that asks, else the first language of its browser that we speak, else English."""
    headers = dict(getattr(request, "headers", None) or {})
    wished = parse_qs(urlsplit(headers.get("referer", "")).query).get("lang", [])
    return choose(",".join([*wished, headers.get("accept-language", "")]))


def choose(accepted: str) -> str:
    """The language for an Accept-Language header, such as `de-AT,de;q=0.9,en;q=0.8`."""
    weighed: list[tuple[float, int, str]] = []
    for place, part in enumerate(accepted.split(",")):
        tag, _, weight = part.partition(";")
        quality = re.fullmatch(r"\s*q=([01](?:\.\d{0,3})?)\s*", weight)
        weighed.append((-float(quality[1]) if quality else -1.0, place, tag.strip().lower().split("-")[0]))
    return next((name for weight, _, name in sorted(weighed) if name in LANGUAGES and weight), ENGLISH)


def i18n() -> gr.I18n:
    """The tables, as the browser gets them."""
    return gr.I18n(**{language: table(language) for language in LANGUAGES})


def _safe(value: object) -> str:
    return html.escape(value, quote=False) if isinstance(value, str) else str(value)


@functools.cache
def _sentences() -> list[tuple[str, re.Pattern[str]]]:
    """English texts as patterns; those of the model server and its client, which have no language of their own."""
    kept = [(key, text) for key, text in table(ENGLISH).items() if key.startswith("said_")]
    return [(key, re.compile(_pattern(text), re.DOTALL)) for key, text in kept]


def _pattern(text: str) -> str:
    """A pattern whose named groups are the places of the text."""
    parts = PLACE.split(text)
    return "".join(f"(?P<{part}>.+)" if i % 2 else re.escape(part) for i, part in enumerate(parts))
