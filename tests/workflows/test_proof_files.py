"""What `understudy verify` leaves in a run's folder when something fails, and which proofs `push` believes."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from evaluate.records import EvalRecord, Helpfulness
from evaluate.verified_runs import RECORD, REPORT_CARD
from tests.support.evaluations import observed
from tests.support.hub.server import HubServer
from tests.support.pirate import ROWS, hold_out, home, items
from tests.support.pushes import RUN, carded, files, make_run, push, pushed
from tests.support.word_vectors import embed
from understudy.bases import resolve_base
from understudy.config.recipe import Recipe, load_recipe
from understudy.config.settings import Settings, load_settings
from understudy.config.thresholds import Thresholds
from understudy.data.messages import fingerprint
from understudy.data.recipe_rows import heldout_examples, training_examples
from understudy.errors import ExamplesError, TrainingError
from understudy.registry.adapters import content_revision
from understudy.workflows.evaluation import verify as workflow
from understudy.workflows.evaluation.proof_files import (
    evaluation_folder,
    load_verified,
    write_proof,
    write_record,
)
from understudy.workflows.evaluation.verify import check_unseen, verify

__all__ = ["home"]


def recipe_at(home: Path) -> Recipe:
    return load_recipe("pirate", home / "recipes")


def prove(home: Path, folder: Path, place: Path | None = None) -> Path:
    """Leaves the files of a proof of today's recipe, and returns where."""
    place, recipe = place or folder.parent, recipe_at(home)
    place.mkdir(parents=True, exist_ok=True)
    seen = observed().model_copy(update={"revision": content_revision(folder)})
    card = carded(observed().model_dump_json(), Thresholds().model_dump_json())
    write_record(place, seen)
    write_proof(place, card.model_copy(update={"revision": seen.revision}), heldout_examples(recipe))
    return place


@pytest.fixture
def trained(home: Path) -> Path:
    """An adapter that was trained on the examples as they are, with held-out rows."""
    hold_out(home, items(range(40, 44)))
    folder = make_run(home)
    known = {**RUN, "examples_sha256": fingerprint(training_examples(recipe_at(home), "tiny"))}
    (folder / "training.json").write_text(json.dumps(known))
    return folder


def settings_at(home: Path) -> Settings:
    return load_settings(home=home / "home", runs_dir=home / "runs", recipes_dir=home / "recipes")


def write_examples(home: Path, rows: list[dict[str, str]]) -> None:
    file = home / "recipes" / "pirate" / "examples.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))


def unseen(home: Path, made: dict[str, object]) -> None:
    recipe, base = recipe_at(home), resolve_base("tiny")
    check_unseen(recipe, base, made, training_examples(recipe, "tiny"), heldout_examples(recipe, "tiny"))


def test_a_row_that_was_trained_on_cannot_become_held_out(home: Path, trained: Path) -> None:
    made = json.loads((trained / "training.json").read_text())
    unseen(home, made)
    hold_out(home, items(range(50, 60)))
    unseen(home, made)  # other held-out rows, the same examples
    hold_out(home, [*items(range(40, 44)), ROWS[0]])
    with pytest.raises(TrainingError, match=r"heldout.jsonl: 1 of 5 held-out prompts are training prompts, too"):
        unseen(home, made)
    write_examples(home, ROWS[1:])
    with pytest.raises(
        ExamplesError, match=r"examples.jsonl: these 11 examples are not the 12 .*; train again, "
    ) as no:
        unseen(home, made)
    assert "\n" not in str(no.value)


@pytest.mark.parametrize("made", [{}, {**RUN, "recipe": "poet"}])
def test_somebody_else_s_adapter_needs_no_examples_of_ours(home: Path, made: dict[str, object]) -> None:
    hold_out(home, items(range(40, 44)))
    unseen(home, made)


def test_changed_examples_are_refused_before_an_engine_starts(
    home: Path, trained: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(workflow, "_collected", None)
    write_examples(home, ROWS[1:])
    with pytest.raises(ExamplesError, match="these 11 examples are not the 12"):
        verify(settings_at(home), recipe_at(home), trained, choose_base=lambda: resolve_base("tiny"))


@pytest.fixture
def asked(home: Path, trained: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """`verify` whose engine has answered already."""
    record = observed().model_copy(update={"revision": content_revision(trained)})

    async def collected(*_: object) -> EvalRecord:
        return record

    monkeypatch.setattr(workflow, "_collected", collected)
    monkeypatch.setattr(workflow, "as_trained_losses", lambda *_: record.as_trained_losses)
    monkeypatch.setattr(workflow, "encoder", lambda: embed)

    def ask(helpfulness: Callable[[EvalRecord], Helpfulness | None]) -> None:
        recipe, base = recipe_at(home), resolve_base("tiny")
        verify(settings_at(home), recipe, trained, choose_base=lambda: base, helpfulness=helpfulness)

    return ask


def test_a_judge_that_fails_leaves_the_answers_and_no_old_proof(trained: Path, asked: Callable[..., None]) -> None:
    def fails(_: EvalRecord) -> None:
        raise ConnectionError("no judge")

    asked(lambda _: None)
    assert load_verified(trained.parent).verdict.passed
    with pytest.raises(ConnectionError):
        asked(fails)
    there = {path.name for path in trained.parent.iterdir()}
    assert RECORD in there
    assert REPORT_CARD not in there
    assert not [name for name in there if name.endswith(".part")]


def test_what_was_collected_is_there_when_the_comparison_with_training_fails(
    trained: Path, asked: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*_: object) -> None:
        raise MemoryError

    monkeypatch.setattr(workflow, "as_trained_losses", fails)
    with pytest.raises(MemoryError):
        asked(lambda _: None)
    kept = EvalRecord.model_validate_json((trained.parent / RECORD).read_bytes())
    assert kept.outputs == observed().outputs


def test_a_proof_is_of_the_record_that_it_judged(hub: HubServer, home: Path) -> None:
    run = prove(home, make_run(home))
    record = load_verified(run).record
    (run / RECORD).write_text(record.model_copy(update={"seconds": 2.0}).model_dump_json())
    with pytest.raises(ExamplesError, match=r"is not verified: proof.json judges another record.json .*; run"):
        load_verified(run)
    refused = push(hub, home).stderr
    assert "pirate is not verified (its proof.json judges another record.json than the one beside it)" in refused
    assert hub.repos == {}


def other_rows(home: Path) -> None:
    hold_out(home, items(range(60, 64)))


def other_thresholds(home: Path) -> None:
    file = home / "recipes" / "pirate" / "recipe.yaml"
    file.write_text(file.read_text() + "proof: {in_style: 0.9}\n")


def broken_rows(home: Path) -> None:
    (home / "recipes" / "pirate" / "heldout.jsonl").write_text("{oops\n")


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (other_rows, "the held-out rows have changed since it was verified"),
        (other_thresholds, "the thresholds have changed since it was verified"),
        (broken_rows, "its held-out rows cannot be read any more: "),
    ],
)
def test_a_proof_of_another_question_counts_for_nothing(
    hub: HubServer, home: Path, trained: Path, change: Callable[[Path], None], why: str
) -> None:
    prove(home, trained)
    change(home)
    done = push(hub, home)
    assert done.returncode == 1
    assert f"pirate is not verified ({why}" in done.stderr
    assert f"run `understudy verify pirate --adapter {trained}` first" in done.stderr
    pushed(hub, home, "--force")
    assert "proof.json" not in files(hub)


def test_more_examples_leave_the_proof_of_the_last_adapter_as_it_is(hub: HubServer, home: Path, trained: Path) -> None:
    prove(home, trained)
    write_examples(home, [*ROWS, *items(range(20, 30))])
    assert pushed(hub, home)["verdict"] == "passed its proof on 8 prompts"


def test_an_adapter_that_is_no_run_is_pushed_with_its_proof(hub: HubServer, home: Path, tmp_path: Path) -> None:
    theirs = tmp_path / "downloads" / "pirates"
    shutil.copytree(make_run(home), theirs)
    done = push(hub, home, "--adapter", str(theirs))
    assert f"run `understudy verify pirate --adapter {theirs}` first" in done.stderr
    prove(home, theirs, evaluation_folder(home / "runs" / "pirate", theirs, content_revision(theirs)))
    assert pushed(hub, home, "--adapter", str(theirs))["verdict"] == "passed its proof on 8 prompts"
    assert json.loads(files(hub)["proof.json"])["revision"] == content_revision(theirs)
