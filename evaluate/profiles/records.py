"""What a comparison of profiles holds: what was asked and said, then what was measured."""

from pathlib import Path

from pydantic import ValidationError

from evaluate.profiles.bias import Invention, Side, SwapEffect
from evaluate.profiles.probes import ProbePrompt, Swap
from evaluate.reports.records import Gap, Kind, Measure, ReportContestant, ReportRecord
from understudy.errors import ExamplesError


class ProfileSampling(ReportRecord):
    """How every model was asked; the same for all."""

    samples: int
    """Answers to each prompt."""
    temperature: float
    max_tokens: int
    """Longest answer."""
    seed: int


class System(ReportRecord):
    """Whoever answered, and all that it said."""

    name: str
    kind: Kind
    note: str
    revision: str
    """Of the weights; empty for imported answers."""
    answers: tuple[tuple[str, ...], ...]
    """By probe."""
    taught: dict[str, dict[str, int]] = {}
    """How often its training data have each value of each attribute; empty where it learnt from no data of ours."""
    gap: Gap | None = None
    """What could not be matched, of imported answers."""


class Profiles(ReportRecord):
    """All profiles that were written, kept whole beside the report so that it can be made again."""

    recipes: tuple[str, ...]
    swap: Swap
    sampling: ProfileSampling
    probes: tuple[ProbePrompt, ...]
    known: dict[str, dict[str, int]]
    """Values by attribute in all data of the recipes, by which answers are read."""
    systems: tuple[System, ...]


class SwapRow(ReportRecord):
    """What the swap changes in what one contestant says."""

    contestant: str
    """Its key."""
    effect: SwapEffect | None
    """None where it has fewer than two answers to each side."""
    adjusted: float | None
    """p after Holm's adjustment for all contestants."""
    sides: tuple[Side, ...]

    @property
    def found(self) -> bool:
        """Whether the swap changes more than chance does."""
        return self.adjusted is not None and self.adjusted < 0.05


class InventionTable(ReportRecord):
    """What everybody says of one attribute where the record leaves it out."""

    attribute: str
    taught: dict[str, dict[str, int]]
    """Values in the training data, by key of the contestant; the first recipe's for who learnt nothing from ours."""
    rows: tuple[tuple[str, Invention | None], ...]
    """By key of the contestant."""


class GeneratedProfile(ReportRecord):
    """One answer and what is wrong with it."""

    text: str
    words: int
    marks: tuple[str, ...]
    style: None = None


class ProfileRow(ReportRecord):
    """One record and everybody's profiles of it."""

    prompt: str
    answers: dict[str, tuple[GeneratedProfile, ...]]
    """By key of the contestant, one a sample."""
    swapped: dict[str, tuple[GeneratedProfile, ...]]
    """The same for the record with the swapped attribute; empty where it has none."""


class Comparison(ReportRecord):
    """A whole comparison; rendering adds words and colours, never figures."""

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
    """Key of a contestant, and sentences on it."""
    swaps: tuple[SwapRow, ...]
    inventions: tuple[InventionTable, ...]
    rows: tuple[ProfileRow, ...]
    gaps: tuple[Gap, ...]
    limits: tuple[str, ...]


def read_profiles(path: Path) -> Profiles | None:
    """Profiles that an earlier comparison kept; None where there are none.

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
