"""`understudy demo`: from nothing to a live page; personas are trained while people chat; nothing is left running."""

import contextlib
import signal
import sys
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Protocol

import httpx
import psutil

from understudy.bases import Base, require_base
from understudy.bases.gpu import gpu_memory_gib, larger_base_hint
from understudy.config.settings import Settings
from understudy.errors import EngineError
from understudy.processes import Child, require_port
from understudy.registry.registry import open_registry
from understudy.workflows.demo_personas import Missing, Rollout, RolloutDisplay, unpublished, untrained
from understudy.workflows.gateway_admin import AdminClient

GPU_SHARE_BESIDE_TRAINING = 0.6
"""Of the GPU's memory, for the engine. It plans with 0.9 otherwise, and training would find no room beside it."""
PAGE_TIMEOUT = 60.0
"""Seconds that the app gets to start."""
POLL = 0.5
"""Seconds between two checks that gateway and app still run."""


@dataclass(frozen=True)
class RunningDemo:
    """The demo once people can chat with it."""

    page: str
    """Address of the app."""
    endpoint: str
    """Address of the OpenAI API."""
    live: list[str]
    missing: list[Missing]
    seconds: float
    """From the start until now."""
    memory_gib: float
    """Resident memory of all processes; pages that they share count for each."""
    processes: int


class DemoDisplay(RolloutDisplay, Protocol):
    """What the demo tells people; every text is one line."""

    def base_progress(self) -> AbstractContextManager[Callable[[str, int, int], None]]:
        """Yields a function that is called with what is prepared, how much is done, and how much there is."""
        ...

    def ready(self, demo: RunningDemo) -> None:
        """People can chat."""
        ...


def run_demo(settings: Settings, display: DemoDisplay) -> None:
    """Start gateway and Space as child processes, train and publish what is missing, and wait for Ctrl-C.

    Raises:
        ConfigError: a port is taken.
        BaseModelError: the base is not available.
        EngineError: a part does not start, or ends; the message names its log.
    """
    require_port(settings.host, settings.port, "--port (or UNDERSTUDY_PORT)")
    require_port(settings.host, settings.space_port, "--space-port (or UNDERSTUDY_SPACE_PORT)")
    signal.signal(signal.SIGTERM, _as_interrupt)
    children: list[Child] = []
    try:
        _run(settings, display, children)
    except KeyboardInterrupt:
        display.waiting("")
        display.note("\nstopping …")
    finally:
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        display.waiting("")
        for child in reversed(children):
            child.stop()
        display.note("everything is stopped")


def _run(settings: Settings, display: DemoDisplay, children: list[Child]) -> None:
    """Never returns; every process that it starts is added to `children`."""
    started = time.monotonic()
    registry, base = open_registry(settings), _prepare_base(settings, display)
    has_gpu = _find_gpu(base, display)
    to_train = untrained(settings, registry, base)
    share = settings.gpu_memory_utilization or GPU_SHARE_BESIDE_TRAINING if has_gpu and to_train else 0.0
    services = _start(settings, display, children, gpu_share=share)

    def wait_ready() -> None:
        url = f"{settings.gateway}/ready"
        _wait_until(url, services[0], "gateway and engine", settings.start_timeout, display)

    wait_ready()
    page = _page_url(settings)
    _wait_until(page, services[1], "app", PAGE_TIMEOUT, display)
    live = AdminClient(settings).live_personas()
    missing = [*unpublished(registry, base, live), *to_train]
    memory_gib, processes = _memory()
    display.ready(
        RunningDemo(
            page=page,
            endpoint=f"{settings.gateway}/v1",
            live=live,
            missing=missing,
            seconds=time.monotonic() - started,
            memory_gib=memory_gib,
            processes=processes,
        )
    )
    rollout = Rollout(
        settings,
        display,
        children,
        environment=_environment(settings),
        check=lambda: _check(services),
        wait_ready=wait_ready,
        started=started,
    )
    rollout.run(missing)
    while True:
        _check(services)
        time.sleep(POLL)


def _prepare_base(settings: Settings, display: DemoDisplay) -> Base:
    with display.base_progress() as on_progress:
        base = require_base(settings.base, on_progress)
    where = "comes with the packages; UNDERSTUDY_BASE names another" if base.shipped else base.location
    display.done(f"base: {base.name} ({where})")
    return base


def _find_gpu(base: Base, display: DemoDisplay) -> bool:
    """Whether this machine has a GPU."""
    memory = gpu_memory_gib()
    if memory is None:
        display.done("no GPU here: everything runs on the CPU")
        return False
    display.done("GPU")
    if hint := larger_base_hint(memory, base):
        display.note(f"  {hint}")
    return True


def _start(settings: Settings, display: DemoDisplay, children: list[Child], *, gpu_share: float) -> tuple[Child, Child]:
    """Start gateway and Space. `gpu_share` is the engine's share of the GPU; 0 leaves it to the settings."""
    display.begun(f"starting vLLM, gateway and app (logs in {settings.logs_dir})")
    environment = _environment(settings)
    if gpu_share:
        environment["UNDERSTUDY_GPU_MEMORY_UTILIZATION"] = str(gpu_share)
    for name in ("serve", "space"):
        log = settings.logs_dir / f"{name}.log"
        log.unlink(missing_ok=True)
        children.append(Child([sys.executable, "-m", "understudy", name], log=log, env=environment))
    return children[-2], children[-1]


def _environment(settings: Settings) -> dict[str, str]:
    """The settings for the child processes, as variables."""
    return {
        "UNDERSTUDY_HOST": settings.host,
        "UNDERSTUDY_PORT": str(settings.port),
        "UNDERSTUDY_SPACE_PORT": str(settings.space_port),
        "UNDERSTUDY_BASE": settings.base,
    }


def _wait_until(url: str, child: Child, what: str, timeout: float, display: DemoDisplay) -> None:
    """Returns once `url` answers. Raises EngineError if the process ends or `timeout` seconds pass."""
    begun = time.monotonic()
    display.waiting(f"waiting for {what}")
    while not _answers(url):
        if child.exit_code is not None:
            raise EngineError(f"{what} ended while starting; the end of {child.log}:\n{child.log_tail()}")
        if time.monotonic() - begun > timeout:
            raise EngineError(f"{what} was not ready after {timeout:.0f} s; see {child.log}")
        time.sleep(0.3)
    display.waiting("")
    display.done(f"{what}: ready after {time.monotonic() - begun:.0f} s")


def _memory() -> tuple[float, int]:
    """Resident GiB of this process and of all that it has started, and the number of these processes."""
    me = psutil.Process()
    family = [me, *me.children(recursive=True)]
    resident = 0
    for process in family:
        with contextlib.suppress(psutil.NoSuchProcess):  # it has ended since
            resident += process.memory_info().rss
    return resident / 2**30, len(family)


def _check(services: tuple[Child, Child]) -> None:
    """Raises EngineError when one of them has ended."""
    for child in services:
        if child.exit_code is not None:
            raise EngineError(
                f"a part has ended (exit code {child.exit_code}); the end of {child.log}:\n{child.log_tail()}"
            )


def _answers(url: str) -> bool:
    """Whether a page is there, or a gateway whose base answers: its personas may still be loaded."""
    try:
        response = httpx.get(url, timeout=2)
    except httpx.TransportError:
        return False
    return response.status_code == 200 or (response.status_code == 503 and '"loading"' in response.text)


def _page_url(settings: Settings) -> str:
    host = "127.0.0.1" if settings.host in ("0.0.0.0", "::") else settings.host
    return f"http://{host}:{settings.space_port}"


def _as_interrupt(*_: object) -> None:
    raise KeyboardInterrupt
