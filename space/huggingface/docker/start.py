"""Entry point of a Docker Space: starts the page, then trains and serves; SIGTERM ends everything.

The page is up within seconds. Until the gateway has its port, a placeholder server there answers with the progress, so
that the banner shows it. A recipe that was sent with the Space is trained when its persona has no revision yet.
"""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import httpx

from understudy.config.settings import Settings, load_settings
from understudy.processes import Child

HERE = Path(__file__).resolve().parent
MAX_PAUSE = 60.0
"""Seconds between two starts of a gateway that keeps ending."""


class SpaceProcesses:
    """The page, the gateway with its engine, and the placeholder server while the gateway does not run."""

    def __init__(self, settings: Settings, env: dict[str, str]) -> None:
        self.settings = settings
        self.env = env
        self.page = self._start("space", UNDERSTUDY_HOST="0.0.0.0", UNDERSTUDY_TRUSTED_PROXIES="loopback,private")
        self.serving: Child | None = None
        self._progress = ""
        self._placeholder: ThreadingHTTPServer | None = None

    def report(self, progress: str) -> None:
        """Logs the progress and makes `/ready` answer it until `serve`."""
        print(f"space: {progress}", flush=True)
        self._progress = progress
        if self._placeholder is None:
            self._placeholder = ThreadingHTTPServer(("127.0.0.1", self.settings.port), self._handler())
            threading.Thread(target=self._placeholder.serve_forever, daemon=True).start()

    def serve(self) -> Child:
        """Starts the gateway and its engine in place of the placeholder."""
        if self._placeholder is not None:
            self._placeholder.shutdown()
            self._placeholder.server_close()
            self._placeholder = None
        self.serving = self._start("serve", UNDERSTUDY_HOST="127.0.0.1")
        return self.serving

    def run(self, *arguments: str) -> bool:
        """Runs one `understudy` command to its end; returns whether it succeeded."""
        command = [sys.executable, "-m", "understudy", *arguments]
        return subprocess.run(command, env={**os.environ, **self.env}, check=False).returncode == 0

    def end(self) -> None:
        for child in (self.serving, self.page):
            if child is not None:
                child.stop()

    def _start(self, name: str, **more: str) -> Child:
        return Child([sys.executable, "-m", "understudy", name], log=None, env={**self.env, **more})

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        processes = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                body = json.dumps({"status": "starting", "detail": processes._progress}).encode()
                self.send_response(503)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            do_POST = do_GET  # noqa: N815 - named by the library

            def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - named by the library
                pass

        return Handler


def main() -> None:
    """Starts everything, restarts the gateway when it ends, and ends when the page does."""
    env = environment()
    os.environ.update(env)
    settings = load_settings(host="127.0.0.1")
    signal.signal(signal.SIGTERM, _exit)
    processes = SpaceProcesses(settings, env)
    try:
        recipes = train_missing(processes)
        pause = 1.0
        while processes.page.exit_code is None:
            processes.report("The engine warms up. With a large model this takes a few minutes.")
            begun = time.monotonic()
            gateway = processes.serve()
            publish(processes, gateway, recipes)
            while gateway.exit_code is None and processes.page.exit_code is None:
                time.sleep(0.5)
            pause = 1.0 if time.monotonic() - begun > 600 else min(pause * 2, MAX_PAUSE)
            if processes.page.exit_code is None:
                processes.report(f"The engine has ended; it is started again in {pause:.0f} s.")
                time.sleep(pause)
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        processes.end()


def environment() -> dict[str, str]:
    """Variables for where state is kept: on the Space's storage if it has any, else until it restarts."""
    storage = Path("/data")
    state = storage / "understudy" if os.access(storage, os.W_OK) else HERE.parent / "state"
    found = {"UNDERSTUDY_HOME": str(state), "UNDERSTUDY_RUNS_DIR": str(state / "runs")}
    found["UNDERSTUDY_RECIPES_DIR"] = str(HERE / "recipes")
    if (HERE / "personas.yaml").is_file():
        found["UNDERSTUDY_PERSONAS_FILE"] = str(HERE / "personas.yaml")
    return {name: os.environ.get(name, value) for name, value in found.items()}


def train_missing(processes: SpaceProcesses) -> list[str]:
    """Trains each recipe whose persona has no revision yet; returns those that can be published."""
    from understudy.config.recipe import recipe_names
    from understudy.registry.registry import open_registry

    folder = processes.settings.recipes_dir
    ready = []
    for name in recipe_names(folder) if folder.is_dir() else []:
        processes.report(f"Teaching {name}. This is done once, and takes a minute or more.")
        if open_registry(processes.settings).revisions(name) or processes.run("train", name):
            ready.append(name)
    return ready


def publish(processes: SpaceProcesses, gateway: Child, recipes: list[str]) -> None:
    """Publishes the recipes' personas that are not live yet, once the engine answers."""
    while recipes and gateway.exit_code is None and not _ready(processes.settings):
        time.sleep(1)
    live = _live(processes.settings) if recipes and gateway.exit_code is None else set()
    for name in recipes:
        if name not in live and gateway.exit_code is None:
            processes.run("publish", name)


def _ready(settings: Settings) -> bool:
    try:
        return httpx.get(f"{settings.gateway}/ready", timeout=5).status_code == 200
    except httpx.TransportError:
        return False


def _live(settings: Settings) -> set[str]:
    key = settings.api_key.get_secret_value() if settings.api_key else ""
    headers = {"Authorization": f"Bearer {key}"} if key else {}
    try:
        return {one["id"] for one in httpx.get(f"{settings.gateway}/v1/models", headers=headers).json()["data"]}
    except (httpx.TransportError, ValueError, KeyError):
        return set()


def _exit(*_: object) -> None:
    raise SystemExit(128 + signal.SIGTERM)


if __name__ == "__main__":
    main()
