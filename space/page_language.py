"""Says in the page itself what it is and in which language, before any script runs; `?lang=` overrules the browser."""

from urllib.parse import parse_qs

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from space.i18n import ENGLISH, LANGUAGES, choose, say
from space.theme import MASTHEAD

OVERRULE = "<script>Object.defineProperty(navigator, 'language', {{value: '{language}'}})</script>"
"""Gradio's page asks the browser for its language, and nobody else."""


class PageLanguage:
    """Middleware that touches the page at `/` and nothing else; inside of whatever compresses it."""

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
            page = translated(bytes(body), language, overruled=wished in LANGUAGES)
            MutableHeaders(scope=head[0])["content-length"] = str(len(page))
            await send(head[0])
            await send({"type": "http.response.body", "body": page})

        await self._app(scope, receive, send_translated)


def translated(page: bytes, language: str, *, overruled: bool) -> bytes:
    """The HTML with the right `lang` and with what stands there until Gradio's scripts have built the page.

    The browser's language is overruled where that is asked for.
    """
    page = page.replace(f'lang="{ENGLISH}"'.encode(), f'lang="{language}"'.encode(), 1)
    opening = f'<div id="opening">{MASTHEAD.replace("${value}", say("masthead", language))}</div><gradio-app'
    page = page.replace(b"<gradio-app", opening.encode(), 1)
    script = OVERRULE.format(language=language).encode()
    return page.replace(b"<head>", b"<head>" + script, 1) if overruled else page
