"""`understudy demo`: from nothing to a live page, every step shown, and nothing left running afterwards."""

import contextlib
import shutil
import signal
import sys
import time

import httpx
from rich.console import Console

from understudy.adapters import short
from understudy.bases import Base, base_revision, require_base, resolve_base
from understudy.cli.admin import AdminClient
from understudy.cli.training import actor
from understudy.errors import EngineError
from understudy.processes import Child, require_port
from understudy.recipes import load_recipe, recipe_names
from understudy.registry import Registry, Revision, open_registry
from understudy.settings import Settings

console = Console(stderr=True, highlight=False, soft_wrap=True)


def run_demo(settings: Settings) -> None:
    """Trains what is missing, starts gateway and Space as child processes, and waits for Ctrl-C.

    Raises:
        PortError: a port is taken.
        EngineError: a part did not start; the message says where its log is.
    """
    require_port(settings.host, settings.port, "--port (or UNDERSTUDY_PORT)")
    require_port(settings.host, settings.space_port, "--space-port (or UNDERSTUDY_SPACE_PORT)")
    signal.signal(signal.SIGTERM, _as_interrupt)
    children: list[Child] = []
    started = time.monotonic()
    try:
        registry = open_registry(settings)
        _say_what_is_used(settings)
        if fits_beside_training(settings):
            gateway, space = _start(settings, children)
            _train_missing(settings, registry, children)
        else:
            _train_missing(settings, registry, children)
            gateway, space = _start(settings, children)
        _wait_until(f"{settings.gateway}/ready", gateway, "gateway and engine", settings.start_timeout)
        _publish_missing(settings, registry)
        _wait_until(_space_url(settings), space, "app", 60)
        _print_addresses(settings, time.monotonic() - started)
        _watch(children)
    except KeyboardInterrupt:
        console.print("\nstopping …")
    finally:
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        for child in reversed(children):
            child.stop()
        console.print("everything is stopped")


def _say_what_is_used(settings: Settings) -> None:
    base = require_base(settings.base)
    where = "ships with the project; UNDERSTUDY_BASE names another" if base.tiny else base.location
    console.print(f"[green]✓[/] base: {base.name} ({where})")
    console.print(f"[green]✓[/] {'GPU' if _gpu() else 'no GPU here: everything runs on the CPU'}")


def fits_beside_training(settings: Settings) -> bool:
    """Whether the engine may start while personas are trained: a start is mostly imports on one core, so both take
    little longer together than the longer one alone. An engine takes most of a GPU, and a large base most memory."""
    return require_base(settings.base).tiny and not _gpu()


def _gpu() -> bool:
    return shutil.which("nvidia-smi") is not None


def _train_missing(settings: Settings, registry: Registry, children: list[Child]) -> None:
    """One child process per persona that has no adapter yet, so that torch's memory goes when it is done."""
    base = resolve_base(settings.base)
    for name in recipe_names(settings.recipes_dir):
        if not load_recipe(name, settings.recipes_dir).demo:
            continue
        if _newest_for(base, registry, name):
            console.print(f"[green]✓[/] {name}: trained already")
            continue
        console.print(f"[bold]•[/] {name}: training")
        command = [sys.executable, "-m", "understudy", "train", name, "--base", settings.base]
        child = Child(command, log=None, env=_environment(settings))
        children.append(child)
        if child.wait():
            raise EngineError(f"training {name} failed; what it said is above")
        children.remove(child)


def _start(settings: Settings, children: list[Child]) -> tuple[Child, Child]:
    console.print(f"[bold]•[/] starting vLLM, gateway and app (logs in {settings.logs_dir})")
    for name in ("serve", "space"):
        log = settings.logs_dir / f"{name}.log"
        log.unlink(missing_ok=True)
        children.append(Child([sys.executable, "-m", "understudy", name], log=log, env=_environment(settings)))
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


def _publish_missing(settings: Settings, registry: Registry) -> None:
    """Puts on stage what is not: new personas, and those whose live revision was made for another base."""
    admin, base = AdminClient(settings), resolve_base(settings.base)
    live = admin.live_personas()
    for persona in registry.personas():
        revision = _newest_for(base, registry, persona.name)
        if persona.name not in live and revision:
            done = admin.publish(persona.name, revision.id, actor())
            console.print(f"[green]✓[/] {persona.name}@{short(done['revision'])} is live")


def _print_addresses(settings: Settings, seconds: float) -> None:
    live = AdminClient(settings).live_personas()
    console.print(f"\n[bold]Understudy is on[/] after {seconds:.0f} s: base, {', '.join(live)}\n")
    console.print(f"  chat and arena   {_space_url(settings)}")
    console.print(f"  OpenAI endpoint  {settings.gateway}/v1")
    console.print(f'  try              {_command(settings)} ask {live[0] if live else "base"} "Write about a teapot."')
    console.print("\nCtrl-C ends everything.")


def _command(settings: Settings) -> str:
    """How to call this program from the same folder and reach this gateway."""
    program = "understudy" if shutil.which("understudy") else sys.argv[0]
    usual = Settings.model_fields["port"].default
    return program if settings.port == usual else f"UNDERSTUDY_PORT={settings.port} {program}"


def _watch(children: list[Child]) -> None:
    while True:
        for child in children:
            if child.exit_code is not None:
                raise EngineError(
                    f"a part has ended (exit code {child.exit_code}); the end of {child.log}:\n{child.log_tail()}"
                )
        time.sleep(0.5)


def _newest_for(base: Base, registry: Registry, persona: str) -> Revision | None:
    """The newest revision of `persona` that was trained on these very weights."""
    pinned = base_revision(base)
    fitting = (r for r in registry.revisions(persona) if r.base == base.name and r.base_revision in (None, pinned))
    return next(fitting, None)


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
