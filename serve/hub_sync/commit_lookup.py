"""Finds the commit that a Hub id means; answers are kept for a while, and while the Hub is down the last one holds."""

import logging
import time
from collections import deque

from serve.hub_sync.background import run_in_background
from serve.rollout.load_queue import ExpiringCache, LoadQueue
from understudy.errors import HubError
from understudy.registry.hub import ResolvedRevision, published_commit

log = logging.getLogger("understudy.on_demand")

FRESH = 60.0
"""Seconds for which the Hub is not asked again what a name means."""

PAUSE = 5.0
"""Seconds before the Hub is asked again after it failed."""

LOOKUP_SECONDS = 30.0

LOOKUPS_PER_MINUTE = 120
"""Times that the Hub is asked what a name means: a client that guesses names must not use up what the Hub allows us."""

MAX_LOOKUPS = 24
"""Look-ups at a time."""

MISSING = ResolvedRevision(commit="", name="")
"""Stands for a repository or revision that is not there, or that we may not see."""


class CommitLookup:
    """Asks the Hub once for each name, however many requests ask for it."""

    def __init__(self, endpoint: str) -> None:
        self._endpoint = endpoint
        self._known: ExpiringCache[ResolvedRevision] = ExpiringCache()
        self._queue: LoadQueue[ResolvedRevision] = LoadQueue("repositories", MAX_LOOKUPS, reason="hub")
        self._asked: deque[float] = deque(maxlen=LOOKUPS_PER_MINUTE)

    async def commit(self, model: str, repo: str, revision: str) -> ResolvedRevision | None:
        """The commit that `model` means, which is `repo` at `revision` (empty: its head); None if it is not there.

        Raises:
            HttpRefusalError: 503, the Hub cannot be asked now and nothing is known from earlier.
        """
        known = self._known.fresh(model)
        found = known[1] if known else await self._queue.run(model, lambda: self._ask(model, repo, revision))
        return None if found is MISSING else found

    async def close(self) -> None:
        """Cancels what is being looked up."""
        await self._queue.close()

    async def _ask(self, model: str, repo: str, revision: str) -> ResolvedRevision:
        now = time.monotonic()
        if len(self._asked) == LOOKUPS_PER_MINUTE and now - self._asked[0] < 60:
            return self._known_earlier(model, "too many repositories are asked for; try again", 2 * PAUSE)
        self._asked.append(now)
        try:
            found = await run_in_background(LOOKUP_SECONDS, published_commit, repo, revision, endpoint=self._endpoint)
        except HubError as error:
            if error.passing or error.code == "offline":
                log.warning("%s", error)
                return self._known_earlier(
                    model, "the Hub cannot be asked now; try again", max(PAUSE, error.retry_after)
                )
            found = MISSING
        except TimeoutError:
            return self._known_earlier(model, "the Hub does not answer; try again", PAUSE)
        self._known.keep(model, found, FRESH)
        return found

    def _known_earlier(self, model: str, problem: str, seconds: float) -> ResolvedRevision:
        """What the Hub said last, which holds for so many seconds more.

        Raises:
            HttpRefusalError: the Hub never named a commit; that is remembered for as long.
        """
        _, found = self._known.get(model, (0.0, MISSING))
        if found is MISSING:
            raise self._queue.refuse(model, self._queue.not_ready(problem, seconds), seconds)
        self._known.keep(model, found, seconds)
        return found
