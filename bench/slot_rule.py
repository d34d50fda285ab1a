"""The rule of `serve.engine.fair_scheduler`, without an event loop, for the simulation."""

from collections import deque
from dataclasses import dataclass, field

from serve.engine.fair_scheduler import PATIENCE


@dataclass(eq=False)
class Request:
    """One answer that is asked for, and when it came; times in seconds."""

    arrival: float
    persona: str
    """Empty: the base, which needs no slot."""
    prompt: int
    """Tokens that must be read first."""
    tokens: int
    """Of the answer, at least one."""
    user: int = -1
    """Who asked; -1 in a trace, where nobody waits for an answer before they ask again."""
    first: float = float("nan")
    end: float = float("nan")
    began: float = float("nan")
    """When it joined a batch."""
    cold: bool = False
    """Whether its adapter had to be loaded for it."""


@dataclass
class SlotRule:
    """At most `capacity` personas in the batch; who waited `patience` seconds gets the slot held longest."""

    capacity: int
    patience: float = PATIENCE
    running: dict[str, int] = field(default_factory=dict)
    """Requests let in, by persona; whoever has had its slot longest comes first."""
    waiting: dict[str, deque[Request]] = field(default_factory=dict)
    since: dict[str, float] = field(default_factory=dict)

    def enter(self, request: Request, now: float) -> bool:
        """Lets it in, or has it wait."""
        persona = request.persona
        if not persona:
            return True
        if persona not in self.waiting and self._ensure_persona(persona, now):
            self.running[persona] = self.running.get(persona, 0) + 1
            return True
        self.waiting.setdefault(persona, deque()).append(request)
        self.since.setdefault(persona, now)
        return False

    def leave(self, persona: str, now: float) -> list[Request]:
        """One of its answers has ended; returns who is let in because of that, in order."""
        if not persona:
            return []
        self.running[persona] -= 1
        if not self.running[persona]:
            del self.running[persona]
        admitted: list[Request] = []
        while ensure_persona := next((name for name in self.waiting if self._ensure_persona(name, now)), None):
            del self.since[ensure_persona]
            let_in = self.waiting.pop(ensure_persona)
            self.running[ensure_persona] = self.running.get(ensure_persona, 0) + len(let_in)
            admitted += let_in
        return admitted

    def _ensure_persona(self, persona: str, now: float) -> bool:
        if persona not in self.running:
            return len(self.running) < self.capacity
        if not self.since:
            return True
        overdue = sum(since <= now - self.patience for name, since in self.since.items() if name not in self.running)
        return persona not in list(self.running)[:overdue]
