"""A random number that a browser keeps, so that its tabs are one voter; it says nothing about anybody."""

import re
import secrets

import gradio as gr
from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import cookie_parser
from starlette.types import ASGIApp, Message, Receive, Scope, Send

COOKIE = "understudy_visitor"
YEAR = 365 * 86_400
"""Seconds that a browser keeps it."""
FORM = re.compile(r"[0-9a-f]{32}")
PAGES = ("/", "/config")
"""What a browser, or a client of Gradio, asks for first."""


class VisitorCookie:
    """Middleware that gives the number to browsers that have none. No script can read it."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["path"] not in PAGES or _known(Headers(scope=scope).get("cookie", "")):
            await self._app(scope, receive, send)
            return
        secure = "https" in (scope["scheme"], Headers(scope=scope).get("x-forwarded-proto", ""))

        async def send_with_cookie(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message).append("set-cookie", _cookie(secure))
            await send(message)

        await self._app(scope, receive, send_with_cookie)


def visitor_of(request: gr.Request) -> str:
    """The number of the browser that asks; "" when it has none, or one that we did not make."""
    headers = getattr(getattr(request, "request", None), "headers", None) or {}
    return _known(str(headers.get("cookie", "")))


def _known(header: str) -> str:
    value = cookie_parser(header).get(COOKIE, "")
    return value if FORM.fullmatch(value) else ""


def _cookie(secure: bool) -> str:
    """Over HTTPS also for a page in a frame, as Spaces are; then each site that frames it has a number of its own."""
    where = "SameSite=None; Secure; Partitioned" if secure else "SameSite=Lax"
    return f"{COOKIE}={secrets.token_hex(16)}; Path=/; Max-Age={YEAR}; HttpOnly; {where}"
