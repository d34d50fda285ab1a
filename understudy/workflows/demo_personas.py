"""The personas of the demo: which are missing, and how each is trained and published while people chat."""

import json
import queue
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Protocol

from understudy.bases import Base, base_revision
from understudy.config.recipe import load_recipe, recipe_names
from understudy.config.settings import PROJECT, Settings
from understudy.errors import GatewayError, PublishError, UnderstudyError
from understudy.processes import Child
from understudy.registry.adapters import short
from understudy.registry.events import actor
from understudy.registry.records import Revision
from understudy.registry.registry import Registry
from understudy.workflows.gateway_admin import AdminClient

NICENESS = 10
"""Of training, so that answers to people come first."""
POLL = 0.5
"""Seconds between two checks that gateway and app still run."""
LONGEST_REASON = 300
"""Characters of a refusal's reason that are shown."""


@dataclass(frozen=True)
class Missing:
    """A persona that is not live."""

    name: str
    title: str
    revision: str | None = None
    """The revision to publish; None if the persona has to be trained first."""
    problem: str = ""
    """Why it cannot be trained."""


class PersonaRefusedError(Exception):
    """A persona cannot be trained, or its adapter is refused; the text says why."""


class RolloutDisplay(Protocol):
    """What people are told while personas are trained and published."""

    def note(self, text: str) -> None:
        """A line without a mark."""
        ...

    def begun(self, text: str) -> None:
        """Something longer begins."""
        ...

    def done(self, text: str) -> None:
        """Something has succeeded."""
        ...

    def refused(self, text: str) -> None:
        """Something has failed, and the rest goes on."""
        ...

    def waiting(self, text: str) -> None:
        """The line that changes while something is going on; an empty text removes it. Not shown in a log."""
        ...

    def progress(self, text: str) -> None:
        """A tenth of the way is done; shown in a log only, where `waiting` is not."""
        ...


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
    """The newest revision of `persona` that was trained on `base`, under any of the base's names."""
    pinned = base_revision(base)
    fitting = (r for r in registry.revisions(persona) if base.is_called(r.base) and r.base_revision in (None, pinned))
    return next(fitting, None)


class Rollout:
    """Trains and publishes personas one after the other, and reports progress to the terminal and to the page."""

    def __init__(
        self,
        settings: Settings,
        display: RolloutDisplay,
        children: list[Child],
        *,
        environment: dict[str, str],
        check: Callable[[], None],
        wait_ready: Callable[[], None],
        started: float,
    ) -> None:
        """
        Args:
            children: the processes that the demo ends; training is added while it runs.
            environment: variables for training.
            check: raises if gateway or app has ended.
            wait_ready: returns once the engine answers again.
            started: `time.monotonic()` at the start of the demo.
        """
        self._settings, self._display, self._children = settings, display, children
        self._environment, self._check, self._wait_ready, self._started = environment, check, wait_ready, started
        self._admin = AdminClient(settings)

    def run(self, missing: list[Missing]) -> None:
        """Make each persona live, or report why it is not."""
        for one in missing:
            self._display.waiting(f"{one.name} is {'being published' if one.revision else 'learning, 0 %'}")
            try:
                revision = self._make_live(one)
            except PersonaRefusedError as refused:
                self._refuse(one, str(refused))
            else:
                seconds = time.monotonic() - self._started
                self._display.done(f"{one.name}@{short(revision)} is live after {seconds:.0f} s")
            self._display.waiting("")

    def _refuse(self, one: Missing, reason: str) -> None:
        reason = " ".join(reason.replace(f"{PROJECT}/", "").split())
        if len(reason) > LONGEST_REASON:
            reason = f"{reason[:LONGEST_REASON]}…"
        self._display.refused(f"{one.name} was refused: {reason}")
        self._show_on_page(one, "refused", reason=reason)

    def _make_live(self, one: Missing) -> str:
        """Train if necessary, publish, and return the revision that is live now. Raises PersonaRefusedError."""
        if one.problem:
            raise PersonaRefusedError(one.problem)
        revision = one.revision or self._train(one)
        self._show_on_page(one, "publishing", 100)
        self._display.waiting(f"{one.name} is being checked")
        return self._publish(one, revision)

    def _train(self, one: Missing) -> str:
        """Train in a process of its own, so that torch's memory is freed afterwards. Raises PersonaRefusedError."""
        log = self._settings.logs_dir / f"train-{one.name}.log"
        log.unlink(missing_ok=True)
        command = [sys.executable, "-m", "understudy", "train", one.name, "--base", self._settings.base, "--json"]
        child = Child(command, log=log, env=self._environment, piped=True, niceness=NICENESS)
        self._children.append(child)
        self._display.begun(f"{one.name} is learning")
        self._show_on_page(one, "learning")
        last: dict[str, Any] = {}
        tenth = 0
        for last in self._objects(child):
            if "step" not in last:
                continue
            percent = min(100, 100 * last["step"] // max(last["of"], 1))
            self._display.waiting(f"{one.name} is learning, {percent} %")
            if percent // 10 > tenth:
                tenth = percent // 10
                self._show_on_page(one, "learning", percent)
                self._display.progress(f"  {one.name} is learning, {percent} %")
        code = child.wait()
        self._children.remove(child)
        if code or not last.get("revision"):
            raise PersonaRefusedError(last.get("error") or _reason(code, child))
        return last["revision"]

    def _objects(self, child: Child) -> Iterator[dict[str, Any]]:
        """Yields the child's JSON objects as they come, and checks the rest of the demo meanwhile."""
        lines: queue.Queue[str | None] = queue.Queue()

        def read() -> None:
            for line in child.lines():
                lines.put(line)
            lines.put(None)

        threading.Thread(target=read, daemon=True).start()
        while True:
            self._check()
            try:
                line = lines.get(timeout=POLL)
            except queue.Empty:
                continue
            if line is None:
                return
            if line.startswith("{"):  # other lines are printed by libraries
                yield json.loads(line)

    def _publish(self, one: Missing, revision: str) -> str:
        """Publish, a second time if the gateway was not ready; return the live revision. Raises PersonaRefusedError."""
        try:
            return self._publish_once(one, revision)
        except GatewayError:
            self._check()
            self._wait_ready()  # the engine may have died and be starting again
        try:
            return self._publish_once(one, revision)
        except GatewayError as error:
            self._check()
            raise PersonaRefusedError(str(error)) from error

    def _publish_once(self, one: Missing, revision: str) -> str:
        try:
            return self._admin.publish(one.name, revision, actor()).revision
        except PublishError as error:
            raise PersonaRefusedError("; ".join(error.reasons[:3]) or str(error)) from error

    def _show_on_page(self, one: Missing, state: str, percent: int = 0, reason: str = "") -> None:
        with suppress(GatewayError):  # not essential, and `_check` notices a gateway that has ended
            self._admin.learning(one.name, title=one.title, state=state, percent=percent, reason=reason)


def _reason(code: int, child: Child) -> str:
    """Why training failed, from its exit code and the last line of its log."""
    if code > 128:
        return f"signal {code - 128} ended its training (see {child.log})"
    message = child.log_tail(1).strip().removeprefix("error: ")
    return message or f"its training ended with exit code {code} (see {child.log})"
