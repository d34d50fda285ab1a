"""`understudy demo`: from nothing to a live page; personas are trained while people chat; nothing is left running."""

import contextlib
import shutil
import signal
import sys
import time

import httpx
import psutil
from rich.console import Console

from understudy.bases import Base, require_base
from understudy.cli.admin import AdminClient
from understudy.cli.base_progress import base_progress
from understudy.cli.demo_personas import Missing, Rollout, unpublished, untrained
from understudy.cli.gpu import gpu_memory_gib, larger_base_hint
from understudy.config.settings import Settings
from understudy.errors import EngineError
from understudy.processes import Child, require_port
from understudy.registry.registry import open_registry

console = Console(stderr=True, highlight=False, soft_wrap=True)

GPU_SHARE_BESIDE_TRAINING = 0.6
"""Of the GPU's memory, for the engine. It plans with 0.9 otherwise, and training would find no room beside it."""
FAVOURITE = "email-copy"
"""Whom the demo proposes to ask."""
PROMPT = "Write a marketing email for my bakery."


def run_demo(settings: Settings) -> None:
    """Starts gateway and Space as child processes, then trains and publishes what is missing, and waits for Ctrl-C.

    Raises:
        PortError: a port is taken.
        BaseModelError: the base cannot be had.
        EngineError: a part did not start, or has ended; the message says where its log is.
    """
    require_port(settings.host, settings.port, "--port (or UNDERSTUDY_PORT)")
    require_port(settings.host, settings.space_port, "--space-port (or UNDERSTUDY_SPACE_PORT)")
    signal.signal(signal.SIGTERM, _as_interrupt)
    children: list[Child] = []
    try:
        _run(settings, children)
    except KeyboardInterrupt:
        console.print("\nstopping …")
    finally:
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        for child in reversed(children):
            child.stop()
        console.print("everything is stopped")


def _run(settings: Settings, children: list[Child]) -> None:
    """Returns never; whatever was started is in `children`."""
    started = time.monotonic()
    registry, base, gpu = open_registry(settings), _prepare_base(settings), _say_what_computes(settings)
    to_train = untrained(settings, registry, base)
    services = _start(settings, children, share=_gpu_share(settings) if gpu and to_train else 0.0)

    def wait_ready() -> None:
        _wait_until(f"{settings.gateway}/ready", services[0], "gateway and engine", settings.start_timeout)

    wait_ready()
    _wait_until(_space_url(settings), services[1], "app", 60)
    live = AdminClient(settings).live_personas()
    missing = [*unpublished(registry, base, live), *to_train]
    _print_addresses(settings, live, missing, time.monotonic() - started)
    rollout = Rollout(
        settings,
        console,
        children,
        environment=_environment(settings),
        check=lambda: _check(services),
        wait_ready=wait_ready,
        started=started,
    )
    rollout.run(missing)
    while True:
        _check(services)
        time.sleep(0.5)


def _prepare_base(settings: Settings) -> Base:
    with base_progress(console) as on_progress:
        base = require_base(settings.base, on_progress)
    where = "comes with the packages; UNDERSTUDY_BASE names another" if base.shipped else base.location
    console.print(f"[green]✓[/] base: {base.name} ({where})")
    return base


def _say_what_computes(settings: Settings) -> bool:
    """Whether there is a GPU."""
    memory = gpu_memory_gib()
    if memory is None:
        console.print("[green]✓[/] no GPU here: everything runs on the CPU")
        return False
    console.print("[green]✓[/] GPU")
    if hint := larger_base_hint(memory, require_base(settings.base)):
        console.print(f"  {hint}")
    return True


def _gpu_share(settings: Settings) -> float:
    """What the settings say, else room for training."""
    return settings.gpu_memory_utilization or GPU_SHARE_BESIDE_TRAINING


def _start(settings: Settings, children: list[Child], *, share: float) -> tuple[Child, Child]:
    """Gateway and Space. `share` is what the engine gets of the GPU; 0 leaves it to the settings."""
    console.print(f"[bold]•[/] starting vLLM, gateway and app (logs in {settings.logs_dir})")
    environment = _environment(settings)
    if share:
        environment["UNDERSTUDY_GPU_MEMORY_UTILIZATION"] = str(share)
    for name in ("serve", "space"):
        log = settings.logs_dir / f"{name}.log"
        log.unlink(missing_ok=True)
        children.append(Child([sys.executable, "-m", "understudy", name], log=log, env=environment))
    return children[-2], children[-1]


def _environment(settings: Settings) -> dict[str, str]:
    """Our settings for the children, who read them where everybody does."""
    return {
        "UNDERSTUDY_HOST": settings.host,
        "UNDERSTUDY_PORT": str(settings.port),
        "UNDERSTUDY_SPACE_PORT": str(settings.space_port),
        "UNDERSTUDY_BASE": settings.base,
    }


def _wait_until(url: str, child: Child, what: str, timeout: float) -> None:
    begun = time.monotonic()
    with console.status(f"waiting for {what}") if console.is_terminal else contextlib.nullcontext():
        while not _answers(url):
            if child.exit_code is not None:
                raise EngineError(f"{what} ended while starting; the end of {child.log}:\n{child.log_tail()}")
            if time.monotonic() - begun > timeout:
                raise EngineError(f"{what} was not ready after {timeout:.0f} s; see {child.log}")
            time.sleep(0.3)
    console.print(f"[green]✓[/] {what}: ready after {time.monotonic() - begun:.0f} s")


def _print_addresses(settings: Settings, live: list[str], missing: list[Missing], seconds: float) -> None:
    console.print(f"\n[bold]Understudy is on[/] after {seconds:.0f} s: {who_is_there(live, missing)}\n")
    console.print(f"  chat and arena   {_space_url(settings)}")
    console.print(f"  OpenAI endpoint  {settings.gateway}/v1")
    console.print(f"  try              {_command(settings)} ask {_proposed(live, missing)}")
    console.print(f"  memory           {_memory()}")
    console.print("\nCtrl-C ends everything.")


def who_is_there(live: list[str], missing: list[Missing]) -> str:
    """Who answers now, who is trained next, and who only has to be published."""
    groups = [
        ("", ["base", *live]),
        ("publishing ", [one.name for one in missing if one.revision]),
        ("teaching ", [one.name for one in missing if not one.revision]),
    ]
    return "; ".join(f"{doing}{', '.join(names)}" for doing, names in groups if names)


def _proposed(live: list[str], missing: list[Missing]) -> str:
    known = [*live, *(one.name for one in missing)]
    name = FAVOURITE if FAVOURITE in known else next(iter(known), "base")
    later = f"   (when {name} is live)" if name not in live and name != "base" else ""
    return f'{name} "{PROMPT}"{later}'


def _memory() -> str:
    """Resident memory of this process and all that it has started; pages that they share count for each."""
    me = psutil.Process()
    family = [me, *me.children(recursive=True)]
    resident = 0
    for process in family:
        with contextlib.suppress(psutil.NoSuchProcess):  # it has ended since
            resident += process.memory_info().rss
    return f"{resident / 2**30:.1f} GiB resident in {len(family)} processes"


def _command(settings: Settings) -> str:
    """How to call this program from the same folder and reach this gateway."""
    started_as = f"{sys.executable} -m understudy" if sys.argv[0].endswith("__main__.py") else sys.argv[0]
    program = "understudy" if shutil.which("understudy") else started_as
    usual = Settings.model_fields["port"].default
    return program if settings.port == usual else f"UNDERSTUDY_PORT={settings.port} {program}"


def _check(services: tuple[Child, Child]) -> None:
    """Raises EngineError when one of them has ended."""
    for child in services:
        if child.exit_code is not None:
            raise EngineError(
                f"a part has ended (exit code {child.exit_code}); the end of {child.log}:\n{child.log_tail()}"
            )


def _answers(url: str) -> bool:
    try:
        return httpx.get(url, timeout=2).status_code == 200
    except httpx.TransportError:
        return False


def _space_url(settings: Settings) -> str:
    host = "127.0.0.1" if settings.host in ("0.0.0.0", "::") else settings.host
    return f"http://{host}:{settings.space_port}"


def _as_interrupt(*_: object) -> None:
    raise KeyboardInterrupt
