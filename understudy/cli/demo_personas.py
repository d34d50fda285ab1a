"""The personas of the demo: which are missing, and how each is trained and published while people chat."""

import json
import queue
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext, suppress
from dataclasses import dataclass
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.status import Status

from understudy.bases import Base, base_revision
from understudy.cli.admin import AdminClient
from understudy.config.recipe import load_recipe, recipe_names
from understudy.config.settings import PROJECT, Settings
from understudy.errors import GatewayError, PublishError, UnderstudyError
from understudy.processes import Child
from understudy.registry.actor import actor
from understudy.registry.adapters import short
from understudy.registry.registry import Registry, Revision

NICENESS = 10
"""Of training, so that answers to people come first."""
WATCH = 0.5
"""Seconds between two looks at whether engine and app still run."""
LONGEST_REASON = 300


@dataclass(frozen=True)
class Missing:
    """A persona that is not live."""

    name: str
    title: str
    revision: str | None = None
    """What to publish; None where it has to be trained first."""
    problem: str = ""
    """Why it cannot be trained."""


class PersonaRefusedError(Exception):
    """A persona cannot be trained, or did not pass; its text says why."""


def untrained(settings: Settings, registry: Registry, base: Base) -> list[Missing]:
    """The recipes of the demo that have no adapter for `base`."""
    found = []
    for name in recipe_names(settings.recipes_dir):
        try:
            recipe = load_recipe(name, settings.recipes_dir)
        except UnderstudyError as error:
            found.append(Missing(name, name, problem=str(error)))
            continue
        if recipe.demo and newest_for(base, registry, name) is None:
            found.append(Missing(name, recipe.title))
    return found


def unpublished(registry: Registry, base: Base, live: list[str]) -> list[Missing]:
    """Personas with an adapter for `base` that are not among the `live`: new ones, and those of another base."""
    found = []
    for persona in registry.personas():
        revision = newest_for(base, registry, persona.name)
        if persona.name not in live and revision:
            found.append(Missing(persona.name, str(persona.card.get("title") or persona.name), revision.id))
    return found


def newest_for(base: Base, registry: Registry, persona: str) -> Revision | None:
    """The newest revision of `persona` that was trained on `base`, whatever name it has for it."""
    pinned = base_revision(base)
    fitting = (r for r in registry.revisions(persona) if base.is_called(r.base) and r.base_revision in (None, pinned))
    return next(fitting, None)


class Rollout:
    """Trains and publishes personas one after the other, and tells the terminal and the page how each gets on."""

    def __init__(
        self,
        settings: Settings,
        console: Console,
        children: list[Child],
        *,
        environment: dict[str, str],
        check: Callable[[], None],
        wait_ready: Callable[[], None],
        started: float,
    ) -> None:
        """`children` are those that the demo ends; `check` raises when gateway or app have ended, `wait_ready`
        returns when the engine answers again."""
        self._settings, self._console, self._children = settings, console, children
        self._environment, self._check, self._wait_ready, self._started = environment, check, wait_ready, started
        self._admin = AdminClient(settings)

    def run(self, missing: list[Missing]) -> None:
        """Brings each live, or says why it is not."""
        for one in missing:
            with self._shown(one) as shown:
                try:
                    revision = self._bring(one, shown)
                except PersonaRefusedError as refused:
                    self._refuse(one, str(refused))
                else:
                    seconds = time.monotonic() - self._started
                    self._console.print(f"[green]✓[/] {one.name}@{short(revision)} is live after {seconds:.0f} s")

    def _shown(self, one: Missing) -> AbstractContextManager[Status | None]:
        """A line that changes while `one` is worked on; None where there is no terminal."""
        doing = "being published" if one.revision else "learning, 0 %"
        return self._console.status(f"{one.name} is {doing}") if self._console.is_terminal else nullcontext()

    def _refuse(self, one: Missing, reason: str) -> None:
        reason = " ".join(reason.replace(f"{PROJECT}/", "").split())
        if len(reason) > LONGEST_REASON:
            reason = f"{reason[:LONGEST_REASON]}…"
        self._console.print(f"[red]✗[/] {one.name} was refused: {escape(reason)}")
        self._tell(one, "refused", reason=reason)

    def _bring(self, one: Missing, shown: Status | None) -> str:
        """The revision that is live now. Raises RefusedError."""
        if one.problem:
            raise PersonaRefusedError(one.problem)
        revision = one.revision or self._train(one, shown)
        self._tell(one, "publishing", 100)
        if shown:
            shown.update(f"{one.name} is being checked")
        return self._publish(one, revision)

    def _train(self, one: Missing, shown: Status | None) -> str:
        """Trains in a process of its own, so that torch's memory goes when it is done. Raises RefusedError."""
        log = self._settings.logs_dir / f"train-{one.name}.log"
        log.unlink(missing_ok=True)
        command = [sys.executable, "-m", "understudy", "train", one.name, "--base", self._settings.base, "--json"]
        child = Child(command, log=log, env=self._environment, piped=True, niceness=NICENESS)
        self._children.append(child)
        self._console.print(f"[bold]•[/] {one.name} is learning")
        self._tell(one, "learning")
        last: dict[str, Any] = {}
        tenth = 0
        for last in self._objects(child):
            if "step" not in last:
                continue
            percent = min(100, 100 * last["step"] // max(last["of"], 1))
            if shown:
                shown.update(f"{one.name} is learning, {percent} %")
            if percent // 10 > tenth:
                tenth = percent // 10
                self._tell(one, "learning", percent)
                if not shown:
                    self._console.print(f"  {one.name} is learning, {percent} %")
        code = child.wait()
        self._children.remove(child)
        if code or not last.get("revision"):
            raise PersonaRefusedError(last.get("error") or _why(code, child))
        return last["revision"]

    def _objects(self, child: Child) -> Iterator[dict[str, Any]]:
        """What the child tells, as it comes; meanwhile the rest of the demo is watched."""
        lines: queue.Queue[str | None] = queue.Queue()

        def read() -> None:
            for line in child.lines():
                lines.put(line)
            lines.put(None)

        threading.Thread(target=read, daemon=True).start()
        while True:
            self._check()
            try:
                line = lines.get(timeout=WATCH)
            except queue.Empty:
                continue
            if line is None:
                return
            if line.startswith("{"):  # what a library prints is not ours
                yield json.loads(line)

    def _publish(self, one: Missing, revision: str) -> str:
        for again in (True, False):
            try:
                return self._admin.publish(one.name, revision, actor())["revision"]
            except PublishError as error:
                raise PersonaRefusedError("; ".join(error.reasons[:3]) or str(error)) from error
            except GatewayError as error:
                self._check()
                if not again:
                    raise PersonaRefusedError(str(error)) from error
                self._wait_ready()  # the engine may have died and be starting again
        raise AssertionError("the second try returns or raises")

    def _tell(self, one: Missing, state: str, percent: int = 0, reason: str = "") -> None:
        with suppress(GatewayError):  # the page goes without; `_check` notices a gateway that has ended
            self._admin.learning(one.name, title=one.title, state=state, percent=percent, reason=reason)


def _why(code: int, child: Child) -> str:
    if code > 128:
        return f"signal {code - 128} ended its training (see {child.log})"
    words = child.log_tail(1).strip().removeprefix("error: ")
    return words or f"its training ended with exit code {code} (see {child.log})"
