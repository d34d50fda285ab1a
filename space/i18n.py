"""The page in the visitor's language: one table of translations for each language, in `space/texts/`.

`t(key)` is for labels of the layout, which the browser translates. `say(key, language, **values)` is for what a handler
returns. A `Notice` is a text by its key, made where the visitor's language is not known yet.
"""

import functools
import html
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import gradio as gr
from gradio.i18n import I18nData
from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from space.theme import MASTHEAD
from understudy.errors import UnderstudyError

ENGLISH = "en"
LANGUAGES = (ENGLISH, "de", "fr")
TRANSLATIONS = Path(__file__).parent / "texts"
PLACEHOLDER = re.compile(r"\{(\w+)\}")
OVERRIDE = "<script>Object.defineProperty(navigator, 'language', {{value: '{language}'}})</script>"
"""Gradio's page takes its language from the browser only."""


@functools.cache
def translations(language: str) -> dict[str, str]:
    """Every text of one language, by key."""
    return json.loads((TRANSLATIONS / f"{language}.json").read_text(encoding="utf-8"))


def t(key: str) -> I18nData:
    """A label that the browser translates. In `value`, `label`, `info` and `placeholder` only, and alone there.

    Raises:
        KeyError: there is no such text.
    """
    return I18nData(_known(key))


def say(key: str, language: str = ENGLISH, **values: object) -> str:
    """Returns the text as HTML; each `{name}` in it becomes the value, which is escaped where it is a `str`.

    Raises:
        KeyError: there is no such text, or a value is missing.
    """
    safe = {
        name: html.escape(value, quote=False) if isinstance(value, str) else value for name, value in values.items()
    }
    return _fill(key, language, safe)


@dataclass(frozen=True)
class Notice:
    """Something to tell a visitor: a text by its key, or the words of another program, which stay as they are."""

    key: str = ""
    values: Mapping[str, object] = field(default_factory=dict)
    """What replaces the placeholders; a value may be a notice itself."""
    words: str = ""

    def text(self, language: str = ENGLISH) -> str:
        """Plain text, not escaped; "" for an empty notice."""
        if not self.key:
            return self.words
        values = {k: v.text(language) if isinstance(v, Notice) else v for k, v in self.values.items()}
        return _fill(self.key, language, values)

    def html(self, language: str = ENGLISH) -> str:
        """The text, escaped."""
        return html.escape(self.text(language), quote=False)

    def __bool__(self) -> bool:
        return bool(self.key or self.words)


NO_NOTICE = Notice()


def notice(key: str, **values: object) -> Notice:
    """A notice with a text of the tables.

    Raises:
        KeyError: there is no such text.
    """
    return Notice(_known(key), values)


def error_notice(error: UnderstudyError) -> Notice:
    """The text for an error's code; the error's own message where there is none."""
    return coded_notice(error.code, str(error))


def coded_notice(code: str, message: str) -> Notice:
    """The text `error_CODE`; `message` where there is none."""
    key = f"error_{code}"
    return Notice(key) if key in translations(ENGLISH) else Notice(words=message)


def _known(key: str) -> str:
    if key not in translations(ENGLISH):
        raise KeyError(f"{key}: no such text in {TRANSLATIONS / 'en.json'}")
    return key


def _fill(key: str, language: str, values: Mapping[str, object]) -> str:
    text = translations(language if language in LANGUAGES else ENGLISH)[key]
    return PLACEHOLDER.sub(lambda place: str(values[place[1]]), text)


def language_of(request: gr.Request | None) -> str:
    """`?lang=` of the page that asks, else the first language of its browser that we have, else English."""
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
    return gr.I18n(**{language: translations(language) for language in LANGUAGES})


class PageLanguage:
    """Middleware that translates the page at `/` before any script runs; `?lang=` overrides the browser's language.

    It must run inside the middleware that compresses.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["method"] != "GET" or scope["path"] != "/":
            await self._app(scope, receive, send)
            return
        wished = parse_qs(scope["query_string"].decode("latin-1")).get("lang", [""])[0]
        language = choose(",".join([wished, Headers(scope=scope).get("accept-language", "")]))
        head: list[Message] = []
        body = bytearray()

        async def send_translated(message: Message) -> None:
            if message["type"] == "http.response.start":
                head.append(message)
                return
            body.extend(message.get("body", b""))
            if message.get("more_body"):
                return
            page = translate_page(bytes(body), language, override=wished in LANGUAGES)
            MutableHeaders(scope=head[0])["content-length"] = str(len(page))
            await send(head[0])
            await send({"type": "http.response.body", "body": page})

        await self._app(scope, receive, send_translated)


def translate_page(page: bytes, language: str, *, override: bool) -> bytes:
    """The HTML with the right `lang`, and with the masthead that shows until Gradio's scripts have built the page.

    `override` makes Gradio's scripts use this language instead of the browser's.
    """
    page = page.replace(f'lang="{ENGLISH}"'.encode(), f'lang="{language}"'.encode(), 1)
    opening = f'<div id="opening">{MASTHEAD.replace("${value}", say("masthead", language))}</div><gradio-app'
    page = page.replace(b"<gradio-app", opening.encode(), 1)
    script = OVERRIDE.format(language=language).encode()
    return page.replace(b"<head>", b"<head>" + script, 1) if override else page
