"""An ASGI application on a port of its own, in a thread."""

import threading
import time
from pathlib import Path
from types import TracebackType
from typing import Self

import uvicorn
from starlette.types import ASGIApp

from understudy.processes import free_port


class Served:
    """`with` starts it and ends it. Give it `app()`; with a certificate it speaks HTTPS."""

    certificate: tuple[Path, Path] | None = None
    """Certificate and key."""

    def __init__(self) -> None:
        self.port = free_port()

    @property
    def url(self) -> str:
        return f"{'https' if self.certificate else 'http'}://localhost:{self.port}"

    def app(self) -> ASGIApp:
        raise NotImplementedError

    def __enter__(self) -> Self:
        certificate, key = self.certificate or (None, None)
        config = uvicorn.Config(
            self.app(),
            port=self.port,
            log_level="error",
            timeout_graceful_shutdown=1,
            ssl_certfile=certificate,
            ssl_keyfile=key,
        )
        self._server = uvicorn.Server(config)
        self._thread = threading.Thread(target=self._server.run, daemon=True)
        self._thread.start()
        while not self._server.started:
            if not self._thread.is_alive():
                raise RuntimeError(f"nothing came up on port {self.port}")
            time.sleep(0.01)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.should_exit = True
        self._thread.join(10)
