"""Runs the gateway and its engine until stopped: `understudy serve`."""

import sys

import uvicorn

from serve.gateway import build_gateway
from serve.logs import configure_logs
from understudy.bases import require_base
from understudy.evidence import Votes
from understudy.processes import require_port
from understudy.settings import Settings


def serve(settings: Settings, votes: Votes | None = None) -> None:
    """Blocks until SIGINT or SIGTERM; then answers in flight have been finished and the engine has ended, too.

    Raises:
        PortError: the gateway's port is taken.
        BaseModelError: the base cannot be had.
    """
    require_port(settings.host, settings.port, "--port (or UNDERSTUDY_PORT)")
    require_base(settings.base)
    configure_logs(not sys.stderr.isatty() if settings.log_json is None else settings.log_json)
    uvicorn.run(
        build_gateway(settings, votes),
        host=settings.host,
        port=settings.port,
        log_config=None,
        server_header=False,
        access_log=False,
        timeout_graceful_shutdown=settings.shutdown_timeout,
    )
