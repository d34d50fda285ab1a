"""The registry as a state machine: whatever is pushed, published and reopened, it tells the same story as a dict."""

import tempfile
from pathlib import Path

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, invariant, rule

from tests.support.adapters import make_adapter, tensors
from understudy.errors import NotFoundError
from understudy.registry.adapters import content_revision
from understudy.registry.database import open_database
from understudy.registry.records import Revision
from understudy.registry.registry import Registry

NAMES = st.sampled_from(["poet", "pirate", "tutor"])
SEEDS = st.integers(min_value=0, max_value=4)


class RegistryMachine(RuleBasedStateMachine):
    """Pushes, flips and restarts in any order."""

    pushed = Bundle("pushed")

    def __init__(self) -> None:
        super().__init__()
        self.folder = tempfile.TemporaryDirectory()
        self.home = Path(self.folder.name)
        self.adapters = {seed: make_adapter(self.home / f"a{seed}", tensors(seed=seed)) for seed in range(5)}
        self.revisions: dict[str, list[str]] = {}
        """By persona, in the order in which they first came."""
        self.live: dict[str, str] = {}
        self.story: dict[str, list[tuple[str, str]]] = {}
        self.reopen()

    @rule()
    def reopen(self) -> None:
        """A restart: everything is read again from disk."""
        if hasattr(self, "registry"):
            self.registry.engine.dispose()
        self.registry = Registry(open_database(f"sqlite:///{self.home / 'r.db'}"), self.home / "store")

    @rule(target=pushed, persona=NAMES, seed=SEEDS)
    def push(self, persona: str, seed: int) -> Revision:
        revision = self.registry.push(persona, self.adapters[seed], actor="test")
        assert revision.id == content_revision(self.adapters[seed])
        known = self.revisions.setdefault(persona, [])
        if revision.id not in known:
            known.append(revision.id)
            self.story.setdefault(persona, []).append(("push", revision.id))
        return revision

    @rule(revision=pushed, action=st.sampled_from(["publish", "rollback"]))
    def go_live(self, revision: Revision, action: str) -> None:
        self.registry.set_live(revision, actor="test", action=action, detail={})
        self.live[revision.persona] = revision.id
        self.story[revision.persona].append((action, revision.id))

    @rule(revision=pushed)
    def refuse(self, revision: Revision) -> None:
        self.registry.record(revision, actor="test", action="reject", detail={"reasons": ["no"]})
        self.story[revision.persona].append(("reject", revision.id))

    @invariant()
    def every_persona_shows_what_went_live_last(self) -> None:
        assert {p.name: p.live for p in self.registry.personas()} == {
            name: self.live.get(name) for name in self.revisions
        }

    @invariant()
    def revisions_are_complete_newest_first_and_on_disk(self) -> None:
        for persona, ids in self.revisions.items():
            found = self.registry.revisions(persona)
            assert [r.id for r in found] == ids[::-1]
            assert self.registry.revision(persona).id == ids[-1]
            assert all(content_revision(self.registry.path(r)) == r.id for r in found)

    @invariant()
    def history_tells_everything_in_order(self) -> None:
        for persona, story in self.story.items():
            assert [(e.action, e.revision) for e in self.registry.history(persona)] == story[::-1]

    @invariant()
    def who_was_never_pushed_is_unknown(self) -> None:
        for name in {"poet", "pirate", "tutor"} - set(self.revisions):
            try:
                self.registry.persona(name)
            except NotFoundError:
                continue
            raise AssertionError(f"{name} was never pushed")

    def teardown(self) -> None:
        self.registry.engine.dispose()
        self.folder.cleanup()


TestRegistryMachine = RegistryMachine.TestCase
TestRegistryMachine.settings = settings(
    max_examples=15, stateful_step_count=20, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
