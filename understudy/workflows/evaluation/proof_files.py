"""The files of an evaluation: `record.json`, and `proof.json`, which names what it judges; written whole or not at all.

A proof counts for the record beside it, for the held-out rows that were asked, and for the thresholds of then.
"""

import hashlib
import json
from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError

from evaluate.records import EvalRecord
from evaluate.report_card import ReportCard
from evaluate.verified_runs import RECORD, REPORT_CARD, VerifiedRun, load_run, proof_file
from understudy.config.recipe import Recipe
from understudy.data.messages import Example, fingerprint
from understudy.data.recipe_rows import SHIPPED, heldout_examples
from understudy.errors import ExamplesError
from understudy.registry.adapters import short

VERIFIED = "verified-"
"""Start of the name of the folder of an evaluation whose adapter is not a run of the recipe."""
JUDGED = "judged"
"""Key of `Judged` in `proof.json`."""


class Judged(BaseModel):
    """What a proof is of, as SHA-256 in hex digits."""

    model_config = ConfigDict(frozen=True)

    record_sha256: str
    """Of the file `record.json`."""
    heldout_sha256: str
    """Of all held-out rows of the recipe (`understudy.data.messages.fingerprint`)."""


def evaluation_folder(runs: Path, product: Path, revision: str) -> Path:
    """Returns where an evaluation is: in the run's own folder, never in the folder around somebody else's adapter.

    `runs` is the folder with the recipe's runs, `revision` that of the adapter's content.
    """
    if product.resolve().parent.parent == runs.resolve():
        return product.parent
    return runs / f"{VERIFIED}{short(revision)}"


def write_record(folder: Path, record: EvalRecord) -> None:
    """Writes the record, and takes away a proof that judges another one."""
    (folder / REPORT_CARD).unlink(missing_ok=True)
    write_whole(folder / RECORD, record.model_dump(mode="json"))


def write_proof(folder: Path, card: ReportCard, heldout: list[Example]) -> None:
    """Writes the proof of the folder's record; `heldout` are all held-out rows of the recipe."""
    judged = Judged(record_sha256=_sha256(folder / RECORD), heldout_sha256=fingerprint(heldout))
    write_whole(folder / REPORT_CARD, {**proof_file(card), JUDGED: judged.model_dump()})


def write_whole(path: Path, value: object) -> None:
    """Writes JSON to a file that is the old one or the new one, whenever a process ends."""
    fresh = path.with_name(f".{path.name}.part")
    fresh.write_text(json.dumps(value, indent=2), encoding="utf-8")
    fresh.replace(path)


def load_verified(folder: Path) -> VerifiedRun:
    """Returns a verified run from its folder.

    Raises:
        ExamplesError: a file in it is not what training or verification writes, or the proof is not the record's.
    """
    run = load_run(folder)
    if not judges_its_record(folder):
        raise ExamplesError(
            f"{folder} is not verified: {REPORT_CARD} judges another {RECORD} than the one beside it; "
            "run understudy verify again"
        )
    return run


def judges_its_record(folder: Path) -> bool:
    """Whether the proof in a folder is of the record in it; one of before a proof named its record counts, too."""
    judged = read_judged(folder)
    return judged is None or judged.record_sha256 == _sha256(folder / RECORD)


def outdated(folder: Path, card: ReportCard, recipe: Recipe) -> str:
    """Returns why the proof in a folder says nothing of the recipe as it is now; empty if it does.

    Rows that the recipe takes from the Hub are not fetched, and a proof of before it named its rows counts.
    """
    judged = read_judged(folder)
    if judged is None:
        return ""
    if card.thresholds != recipe.proof:
        return "the thresholds have changed since it was verified"
    if recipe.data and card.base not in SHIPPED and recipe.data.source.startswith("hub:"):
        return ""
    try:
        same = fingerprint(heldout_examples(recipe, card.base)) == judged.heldout_sha256
    except ExamplesError as error:
        return f"its held-out rows cannot be read any more: {error}"
    return "" if same else "the held-out rows have changed since it was verified"


def read_judged(folder: Path) -> Judged | None:
    """Returns what the proof in a folder is of; None if it was written before a proof said so."""
    try:
        return Judged.model_validate(json.loads((folder / REPORT_CARD).read_bytes())[JUDGED])
    except (KeyError, TypeError, ValueError, ValidationError):
        return None


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
