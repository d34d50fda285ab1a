"""Follows the repositories of the personas: a push to the Hub goes live within seconds by itself."""

import asyncio
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

from serve.hub_sync.follow_config import Follow, FollowingFile
from serve.hub_sync.follower import Follower, FollowerContext
from understudy.errors import NotFoundError

log = logging.getLogger("understudy.watch")

FILE_POLL = 1.0
"""Seconds between two checks of personas.yaml."""


class Watcher:
    """One follower for each persona in personas.yaml, as long as it is in there."""

    def __init__(self, path: Path | None, context: FollowerContext, on_file: Callable[[str], None]) -> None:
        """`on_file` is called when the file was read again, with the problem or an empty string."""
        self._file = FollowingFile(path) if path else None
        self._context, self._on_file = context, on_file
        self._following: dict[str, Follow] = {}
        self._followers: dict[str, Follower] = {}
        self._tasks: dict[Follower, asyncio.Task[None]] = {}

    def prepare(self) -> None:
        """Reads the file and creates the personas that it names; blocks, before the engine starts."""
        if self._file and (following := self._file.changed()) is not None:
            self._set_cards(following)
        self._report_problem("")

    async def run(self) -> None:
        """Follows until cancelled."""
        if self._file is None:
            return
        try:
            self._apply()
            while True:
                await asyncio.sleep(FILE_POLL)
                before = self._file.problem
                following = await asyncio.to_thread(self._file.changed)
                if following is not None:
                    await asyncio.to_thread(self._set_cards, following)
                    self._apply()
                if following is not None or self._file.problem != before:
                    self._report_problem(before)
        finally:
            for task in self._tasks.values():
                task.cancel()
            await asyncio.gather(*self._tasks.values(), return_exceptions=True)

    def request_poll(self, repo: str) -> bool:
        """Polls a repository soon, since it may have changed; False when no persona follows it."""
        found = [f for f in self._followers.values() if f.follow.repo.lower() == repo.lower()]
        for follower in found:
            follower.request_poll()
        return bool(found)

    def status(self) -> dict[str, Any]:
        """For /admin/status."""
        return {
            "file": str(self._file.path) if self._file else None,
            "problem": (self._file.problem if self._file else "") or None,
            "personas": {name: follower.status() for name, follower in sorted(self._followers.items())},
        }

    def _set_cards(self, following: dict[str, Follow]) -> None:
        """Creates followed personas, even before their first revision, and sets their cards."""
        registry = self._context.registry
        for name, follow in following.items():
            try:
                known = registry.persona(name).card
            except NotFoundError:
                known = {}
            card = follow.card(known)
            registry.ensure_persona(name, card)
            self._context.publisher.set_card(name, card)
        self._following = following

    def _apply(self) -> None:
        for name in [name for name in self._followers if name not in self._following]:
            self._followers.pop(name).leave()
        for name, follow in self._following.items():
            if (follower := self._followers.get(name)) is not None:
                follower.change(follow)
                continue
            follower = self._followers[name] = Follower(name, follow, self._context)
            task = self._tasks[follower] = asyncio.create_task(follower.run())
            task.add_done_callback(lambda _, gone=follower: self._tasks.pop(gone, None))

    def _report_problem(self, before: str) -> None:
        problem = self._file.problem if self._file else ""
        self._on_file(problem)
        if problem:
            log.error("the followed repositories stay as they were: %s", problem)
        elif before:
            log.info("%s is valid again", self._file and self._file.path)
