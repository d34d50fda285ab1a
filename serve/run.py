"""Runs the gateway and its engine until stopped: `understudy serve`."""

import sys

import uvicorn

from serve.app import build_gateway
from serve.engine.servable import check_servable
from serve.engine.vllm import vllm_on_cpu
from serve.logs import configure_logs
from understudy.bases import require_base
from understudy.config.settings import Settings
from understudy.processes import require_port
from understudy.statistics.sequential import VoteSource


def serve(settings: Settings, votes: VoteSource | None = None) -> None:
    """Blocks until SIGINT or SIGTERM; then answers in flight have been finished and the engine has ended, too.

    Raises:
        PortError: the gateway's port is taken.
        BaseModelError: the base cannot be had, or vLLM cannot serve it with adapters.
        EngineError: vLLM is not installed.
    """
    require_port(settings.host, settings.port, "--port (or UNDERSTUDY_PORT)")
    base = require_base(settings.base)
    if not settings.engine_url:
        check_servable(base, settings.bases_dir, on_cpu=vllm_on_cpu())
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
