"""The data of a comparison of profiles: prompts and answers, then what was measured."""

from pathlib import Path

from pydantic import ValidationError

from evaluate.profiles.bias import Invention, Side, SwapEffect
from evaluate.profiles.probes import ProbePrompt, Swap
from evaluate.reports.records import Gap, Kind, Measure, ReportContestant, ReportRecord
from understudy.errors import ExamplesError


class ProfileSampling(ReportRecord):
    """How every model is sampled; the same for all."""

    samples: int
    """Answers to each prompt."""
    temperature: float
    max_tokens: int
    """Of an answer."""
    seed: int


class System(ReportRecord):
    """One system and all its answers."""

    name: str
    kind: Kind
    note: str
    revision: str
    """Of the weights; empty for imported answers."""
    answers: tuple[tuple[str, ...], ...]
    """By probe, one tuple of samples each."""
    taught: dict[str, dict[str, int]] = {}
    """How often its training data have each value of each attribute; empty if it was not trained on our data."""
    gap: Gap | None = None
    """Imported answers that could not be matched."""


class Profiles(ReportRecord):
    """Everything that was asked and answered; kept beside the report, so that it can be made again."""

    recipes: tuple[str, ...]
    swap: Swap
    sampling: ProfileSampling
    probes: tuple[ProbePrompt, ...]
    known: dict[str, dict[str, int]]
    """Counts of values by attribute in all data of the recipes; answers are searched for these."""
    systems: tuple[System, ...]


class SwapRow(ReportRecord):
    """What the swap changes in one contestant's answers."""

    contestant: str
    """Its key."""
    effect: SwapEffect | None
    """None if it has fewer than two answers on each side."""
    adjusted: float | None
    """p after Holm's adjustment over all contestants."""
    sides: tuple[Side, ...]

    @property
    def found(self) -> bool:
        """Whether the swap changes more than chance does."""
        return self.adjusted is not None and self.adjusted < 0.05


class InventionTable(ReportRecord):
    """What every contestant makes up for one attribute that the record leaves out."""

    attribute: str
    taught: dict[str, dict[str, int]]
    """Values in the training data by key of the contestant; the first recipe's for one not trained on our data."""
    rows: tuple[tuple[str, Invention | None], ...]
    """By key of the contestant."""


class GeneratedProfile(ReportRecord):
    """One answer and what is wrong with it."""

    text: str
    words: int
    marks: tuple[str, ...]
    """What is wrong, in words."""


class ProfileRow(ReportRecord):
    """One record and every contestant's profiles of it."""

    prompt: str
    answers: dict[str, tuple[GeneratedProfile, ...]]
    """By key of the contestant, one per sample."""
    swapped: dict[str, tuple[GeneratedProfile, ...]]
    """The same for the record with the attribute swapped; empty if it has neither value."""


class Comparison(ReportRecord):
    """A whole comparison; rendering adds words, never figures."""

    title: str
    recipes: tuple[str, ...]
    made_on: str
    versions: dict[str, str]
    records: int
    swap: Swap
    sampling: ProfileSampling
    measures: tuple[Measure, ...]
    contestants: tuple[ReportContestant, ...]
    findings: tuple[tuple[str, tuple[str, ...]], ...]
    """Key of a contestant, and sentences about it."""
    swaps: tuple[SwapRow, ...]
    inventions: tuple[InventionTable, ...]
    rows: tuple[ProfileRow, ...]
    gaps: tuple[Gap, ...]
    limits: tuple[str, ...]


def read_profiles(path: Path) -> Profiles | None:
    """Reads the profiles that an earlier comparison kept; None if there are none.

    Raises:
        ExamplesError: the file is not what a comparison writes.
    """
    if not path.is_file():
        return None
    try:
        return Profiles.model_validate_json(path.read_bytes())
    except ValidationError as error:
        first = error.errors()[0]
        at = ".".join(map(str, first["loc"])) or "the file"
        raise ExamplesError(f"{path}: {at}: {first['msg']}; remove it, and the models are asked again") from None
