"""Maps the names that requests use to loaded revisions."""

import contextlib
from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Any

from serve.engine.adapter_engine import BASE_NAME
from serve.rollout.canary import Trial
from serve.rollout.loaded import Loaded
from understudy.errors import NotFoundError
from understudy.registry.adapters import SHORT, short
from understudy.registry.personas import NAMED
from understudy.registry.records import Revision
from understudy.registry.tables import now


class Target:
    """The model in the engine that answers one request."""

    def __init__(self, loaded: Loaded | None) -> None:
        self.loaded = loaded
        """None for the base."""
        self.engine_name = loaded.name if loaded else BASE_NAME
        """The model's name in the engine."""
        self.persona = loaded.revision.persona if loaded else BASE_NAME
        self.revision = short(loaded.revision.id) if loaded else BASE_NAME
        """What the answer is labelled with: `base`, or 12 hex digits."""


class RoutingTable:
    """The current routes, in memory: every change is one assignment, so no request sees half of it."""

    def __init__(self) -> None:
        self.engine_generation = 0
        """Counts the engine's starts: what was loaded before the last one is gone."""
        self.loaded: dict[str, Loaded] = {}
        """By name in the engine."""
        self.live: dict[str, Loaded] = {}
        """By persona."""
        self.trials: dict[str, Trial] = {}
        """By persona: a revision that a share of the users gets."""
        self.previous: dict[str, Loaded] = {}
        """By persona: what was live before, kept loaded so that a rollback is one assignment."""
        self.unloaded: dict[str, Revision] = {}
        """By persona: live, but not loaded before the first request (`serve.rollout.lazy_load`)."""
        self.used: dict[str, datetime] = {}
        """By persona: when it was last asked."""
        self.cards: dict[str, dict[str, Any]] = {}
        """By persona: title, voice, prompts and so on, for /v1/models."""

    def add(self, revision: Revision, engine_generation: int, checks: dict[str, Any]) -> Loaded:
        """Adds a revision that the engine has loaded; requests may name it as `persona@revision` from now on."""
        return self.loaded.setdefault(revision.served_name, Loaded(revision, engine_generation, checks))

    def flip(self, loaded: Loaded) -> list[Loaded]:
        """Makes `loaded` live and ends its persona's trial; returns the revisions that are no longer needed."""
        persona = loaded.revision.persona
        trial, before, oldest = self.trials.get(persona), self.live.get(persona), self.previous.get(persona)
        self.live[persona] = loaded
        self.unloaded.pop(persona, None)
        self.trials.pop(persona, None)
        if before is not None and before is not loaded:
            self.previous[persona] = before
        leaving = [oldest, trial.loaded if trial else None]
        return [x for x in leaving if x is not None and not self.needed(x)]

    def needed(self, loaded: Loaded) -> bool:
        """Whether it is live, on trial, or kept for a rollback."""
        persona = loaded.revision.persona
        trial = self.trials.get(persona)
        roles = (self.live.get(persona), self.previous.get(persona), trial.loaded if trial else None)
        return any(loaded is role for role in roles)

    def others(self, persona: str) -> list[str]:
        """Lists the revisions beside the live one that answer as `persona@revision`: on trial, or live before."""
        trial = self.trials.get(persona)
        roles = (self.previous.get(persona), trial.loaded if trial else None)
        kept = {x.name: x for x in roles if x is not None and x is not self.live.get(persona)}
        return sorted(short(x.revision.id) for x in kept.values() if self.loaded.get(x.name) is x)

    def shown(self) -> dict[str, Revision]:
        """The live revision of each persona, by name, loaded or not."""
        return dict(sorted((self.unloaded | {name: loaded.revision for name, loaded in self.live.items()}).items()))

    def about(self, name: str, revision: Revision, sampling: Mapping[str, Any]) -> dict[str, Any]:
        """What people are told about a persona; what its card does not set of the sampling, the base's says."""
        card = {"title": name, "voice": "", "prompts": [], "sampling": {}, **self.cards.get(name, {})}
        # vLLM, too, takes what the card does not set from the base's generation_config.json.
        own = {key: value for key, value in (card["sampling"] or {}).items() if value is not None}
        card["sampling"] = {**sampling, **own}
        return {"kind": "persona", "revision": short(revision.id), **card, "others": self.others(name)}

    def is_unloaded(self, model: str) -> bool:
        """Whether `model`, a persona or `persona@revision`, must be loaded before it can answer."""
        persona, _, revision = model.partition("@")
        unloaded = self.unloaded.get(persona)
        return unloaded is not None and unloaded.id.startswith(revision)

    def remove(self, loaded: Loaded) -> None:
        """Removes a revision; its name is unknown from now on."""
        self.loaded.pop(loaded.name, None)

    def clear(self) -> None:
        """Removes everything, since the engine that had it is gone."""
        self.engine_generation += 1
        self.loaded, self.live, self.trials, self.previous, self.unloaded = {}, {}, {}, {}, {}

    @contextlib.contextmanager
    def lease(self, model: str, user: str = "") -> Iterator[Target]:
        """Resolves `model` (`base`, a persona, or `persona@revision`) and counts the request until it ends.

        While a revision is on trial, the same `user` always gets the same revision.

        Raises:
            NotFoundError: there is no such model; the message lists those that exist.
        """
        if model == BASE_NAME:
            yield Target(None)
            return
        loaded = self._find(model, user)
        loaded.enter()
        self.used[loaded.revision.persona] = now()
        try:
            yield Target(loaded)
        finally:
            loaded.leave()

    def _find(self, model: str, user: str) -> Loaded:
        persona, at, revision = model.partition("@")
        found = self.loaded.get(f"{persona}@{revision[:SHORT]}") if at else self._live(persona, user)
        if found is None or (at and not found.revision.id.startswith(revision)):
            names = [BASE_NAME, *self.shown()]
            more = f" and {len(names) - NAMED} more (see /v1/models)" if len(names) > NAMED else ""
            raise NotFoundError(f"model {model!r} does not exist; models there are: {', '.join(names[:NAMED])}{more}")
        return found

    def _live(self, persona: str, user: str) -> Loaded | None:
        trial = self.trials.get(persona)
        return trial.loaded if trial and trial.takes(user) else self.live.get(persona)
