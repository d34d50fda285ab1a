"""Runs the gateway and its engine until stopped: `understudy serve`."""

import logging

import uvicorn

from serve.gateway import build_gateway
from understudy.bases import require_base
from understudy.processes import require_port
from understudy.settings import Settings

SHUTDOWN = 10
"""Seconds that answers in flight get when the gateway is told to stop."""


def serve(settings: Settings) -> None:
    """Blocks until SIGINT or SIGTERM; then the engine has ended, too.

    Raises:
        PortError: the gateway's port is taken.
        BaseModelError: the base cannot be had.
    """
    require_port(settings.host, settings.port, "--port (or UNDERSTUDY_PORT)")
    require_base(settings.base)
    logging.basicConfig(level=logging.WARNING, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    logging.getLogger("understudy").setLevel(logging.INFO)
    uvicorn.run(
        build_gateway(settings),
        host=settings.host,
        port=settings.port,
        log_level="warning",
        access_log=False,
        timeout_graceful_shutdown=SHUTDOWN,
    )
