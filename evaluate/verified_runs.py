"""Verified runs: what training and `understudy verify` left in a run's folder, read back for a report."""

import json
from pathlib import Path
from typing import TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

from evaluate.records import EvalRecord
from evaluate.report_card import ReportCard
from evaluate.verdict import Verdict, judge
from understudy.errors import ExamplesError, NotFoundError

REPORT_CARD = "proof.json"
RECORD = "record.json"
Model = TypeVar("Model", bound=BaseModel)


class CurvePoint(BaseModel):
    """One loss in the training log."""

    model_config = ConfigDict(frozen=True, allow_inf_nan=False)

    epoch: float
    loss: float
    """Nats per token."""


class RunFacts(BaseModel):
    """How a run was trained; None or empty where its folder does not say."""

    model_config = ConfigDict(frozen=True)

    id: str
    base_revision: str | None = None
    training: dict[str, object] = {}
    """Settings of the training, resolved."""
    rows: int | None = None
    examples_sha256: str | None = None
    versions: dict[str, str] = {}
    steps: int | None = None
    seconds: float | None = None
    tokens_per_second: float | None = None
    peak_memory_mib: float | None = None
    train_curve: list[CurvePoint] = []
    heldout_curve: list[CurvePoint] = []

    @property
    def method(self) -> str:
        """How its weights were trained: qlora, lora, ...; empty where that is not known."""
        return str(self.training.get("method") or "")


class VerifiedRun(BaseModel):
    """A run and what was found of it."""

    model_config = ConfigDict(frozen=True)

    facts: RunFacts
    record: EvalRecord
    card: ReportCard

    @property
    def verdict(self) -> Verdict:
        """What follows from the card."""
        return judge(self.card)


def proof_file(card: ReportCard) -> dict[str, object]:
    """What `proof.json` holds: the verdict, and every figure that it rests on."""
    verdict = judge(card)
    return {"passed": verdict.passed, "verdict": verdict.model_dump(mode="json"), **card.model_dump(mode="json")}


def find_runs(recipe: str, runs_dir: Path, wanted: list[str]) -> list[Path]:
    """The folders of the runs: each by id, the start of its id, or its folder; without any, the one verified last.

    Raises:
        NotFoundError: there is no such run, several begin so, or a run is not verified.
    """
    there = sorted(path for path in (runs_dir / recipe).glob("*") if path.is_dir())
    proved = [path for path in there if (path / REPORT_CARD).is_file() and (path / RECORD).is_file()]
    if not wanted:
        if not proved:
            raise NotFoundError(f"{recipe} is not verified yet; run `understudy verify {recipe}` first")
        return [max(proved, key=lambda path: (path / REPORT_CARD).stat().st_mtime)]
    found = [_find(recipe, there, name) for name in wanted]
    for path in found:
        if not ((path / REPORT_CARD).is_file() and (path / RECORD).is_file()):
            adapter = next((p for p in (path / "adapter", path / "model") if p.is_dir()), path / "adapter")
            raise NotFoundError(
                f"{path} is not verified yet; run `understudy verify {recipe} --adapter {adapter}` first"
            )
    return list({path.resolve(): path for path in found}.values())


def load_run(folder: Path) -> VerifiedRun:
    """A verified run from its folder.

    Raises:
        ExamplesError: a file in it is not what training or verification writes.
    """
    facts = {**_object(folder / "settings.json"), **_object(folder / "result.json")}
    train, heldout = _curves(folder / "log.jsonl")
    known = {name: facts[name] for name in RunFacts.model_fields if facts.get(name) is not None}
    try:
        run = RunFacts.model_validate(
            {**known, "id": folder.resolve().name, "train_curve": train, "heldout_curve": heldout}
        )
    except ValidationError as error:
        raise _broken(folder / "settings.json", error, "train the run again with --fresh") from None
    again = "run understudy verify again"
    return VerifiedRun(
        facts=run,
        record=_read(folder / RECORD, EvalRecord, again),
        card=_read(folder / REPORT_CARD, ReportCard, again),
    )


def _find(recipe: str, there: list[Path], name: str) -> Path:
    if "/" in name and Path(name).is_dir():
        return Path(name)
    begins = [path for path in there if path.name.startswith(name)]
    exact = [path for path in begins if path.name == name] or begins
    if len(exact) != 1:
        known = ", ".join(path.name for path in begins or there) or "none"
        problem = "several runs begin" if begins else "no run begins"
        raise NotFoundError(f"{recipe}: {problem} with {name!r}; runs there are: {known}")
    return exact[0]


def _read(path: Path, model: type[Model], remedy: str) -> Model:
    try:
        return model.model_validate_json(path.read_bytes())
    except ValidationError as error:
        raise _broken(path, error, remedy) from None


def _broken(path: Path, error: ValidationError, remedy: str) -> ExamplesError:
    first = error.errors()[0]
    at = ".".join(map(str, first["loc"])) or "the file"
    return ExamplesError(f"{path}: {at}: {first['msg']}; {remedy}")


def _object(path: Path) -> dict[str, object]:
    if not path.is_file():
        return {}
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except ValueError:
        value = None
    if not isinstance(value, dict):
        raise ExamplesError(f"{path}: not one JSON object; train the run again with --fresh")
    return value


def _curves(path: Path) -> tuple[list[dict[str, object]], list[dict[str, object]]]:
    """Losses on training batches and on held-out rows; a line that a kill cut short is passed over."""
    train: list[dict[str, object]] = []
    heldout: list[dict[str, object]] = []
    for line in path.read_text(encoding="utf-8", errors="replace").splitlines() if path.is_file() else ():
        try:
            step = json.loads(line)
        except ValueError:
            continue
        if not isinstance(step, dict) or not _finite(step.get("epoch")):
            continue
        for name, points in (("loss", train), ("eval_loss", heldout)):
            if _finite(step.get(name)):
                points.append({"epoch": step["epoch"], "loss": step[name]})
    return train, heldout


def _finite(value: object) -> bool:
    return isinstance(value, int | float) and abs(value) < float("inf")
