"""What every request passes on its way in and out: an id for logs and answers, and CORS."""

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from serve.logs import REQUEST_ID, new_request_id

HEADER = b"x-request-id"


class RequestIds:
    """Gives each request an id (the client's, if it is a sound one) and puts it on the answer."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return await self._app(scope, receive, send)
        wanted = next((value for name, value in scope["headers"] if name == HEADER), b"")
        request_id = new_request_id(wanted.decode("latin-1"))
        token = REQUEST_ID.set(request_id)

        async def send_with_id(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message.get("headers", []), (HEADER, request_id.encode())]
            await send(message)

        try:
            await self._app(scope, receive, send_with_id)
        finally:
            REQUEST_ID.reset(token)


def origins(setting: str) -> list[str]:
    """The origins that UNDERSTUDY_CORS_ORIGINS names."""
    return [origin.strip().rstrip("/") for origin in setting.split(",") if origin.strip()]
