"""What revisions are loaded into: vLLM behind the gateway, or a model in the process of a ZeroGPU Space."""

from pathlib import Path
from typing import Any, Literal, Protocol, TypeAlias

from pydantic import BaseModel, ConfigDict

from understudy.bases import Base

BASE_NAME = "base"
"""The name under which the base is served."""

CheckStage: TypeAlias = Literal["validation", "load", "probe", "golden"]
"""The check that refused a revision."""


class ProbeReport(BaseModel):
    """Why a candidate is refused, and what was measured in any case."""

    model_config = ConfigDict(frozen=True)

    problems: list[str]
    figures: dict[str, float | int | str | None]
    """`prompts` asked and how many `ended` by themselves; `logprob_difference` from the base and `noise`, the base's
    difference from itself (nats); `golden` prompts, `golden_met` by the candidate and by `golden_met_live`
    (None when not asked); `seconds_per_token`, those of the `reference` and their ratio `slowdown`; `seconds` of
    the whole probe."""


class AdapterEngine(Protocol):
    """Holds adapters beside one base, each under a name of its own that is never used again."""

    @property
    def base(self) -> Base: ...

    @property
    def max_rank(self) -> int:
        """Largest rank of an adapter that it takes."""
        ...

    @property
    def capacity(self) -> int:
        """Adapters that fit with one to spare for a candidate."""
        ...

    async def load(self, name: str, folder: Path) -> None:
        """Loads a valid adapter. Raises EngineError."""
        ...

    async def unload(self, name: str, folder: Path) -> None:
        """Unloads an adapter that nobody asks any more. Raises EngineError."""
        ...

    async def probe(self, name: str, card: dict[str, Any], live: str | None) -> ProbeReport:
        """Asks a loaded candidate beside the base and the persona's live adapter. Raises EngineError."""
        ...
