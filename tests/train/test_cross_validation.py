"""The number of epochs by cross-validation: families stay together, and the choice leans to more training."""

import json
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from tests.support.pirate import home, only_run, train
from train.cross_validation import Folds, choose, split
from train.model.load import keep_trainable, load_model
from understudy.bases import resolve_base
from understudy.config.training import Training
from understudy.data.duplicates import duplicate_groups
from understudy.data.messages import Example

__all__ = ["home"]


def example(prompt: str, parent: str | None = None) -> Example:
    messages = [{"role": "user", "content": prompt}, {"role": "assistant", "content": "Yes."}]
    return Example.model_validate({"messages": messages, "parent": parent})


@pytest.mark.parametrize(
    ("losses", "epochs"),
    [
        ([[3, 2, 1], [3, 2, 1]], 3),
        ([[3, 1, 2], [3, 1, 2]], 2),
        ([[3.0, 1.0, 1.2, 2.0], [3.0, 1.4, 1.4, 2.0]], 3),
        ([[3.0, 1.0, 1.1, 1.0]], 4),
        ([[1.0, 2.0], [1.1, 2.0]], 1),
    ],
)
def test_the_last_epoch_within_one_standard_error_of_the_best_is_chosen(losses: list[list[float]], epochs: int) -> None:
    found = choose(losses)
    assert found.epochs == epochs
    assert found.folds == len(losses)
    assert Folds.model_validate_json(found.model_dump_json()) == found


@given(st.lists(st.tuples(st.sampled_from("abcdefgh"), st.sampled_from([None, "p", "q"])), min_size=2, max_size=40))
def test_rows_made_from_one_another_stay_in_one_fold_and_none_is_lost(rows: list[tuple[str, str | None]]) -> None:
    examples = [example(prompt, parent) for prompt, parent in rows]
    parts = split(examples, 4, seed=1)
    assert sorted(e.model_dump_json() for part in parts for e in part) == sorted(e.model_dump_json() for e in examples)
    assert all(parts)
    homes = {row: n for n, part in enumerate(parts) for row in part}
    for group in duplicate_groups(examples):
        assert len({homes[examples[number]] for number in group}) == 1, "a family stands in two folds"
    assert parts == split(examples, 4, seed=1)


def test_prompts_that_differ_in_case_only_and_rows_made_from_one_another_are_families() -> None:
    rows = [example("Hello "), example("hello"), example("Ask", "row 3"), example("Other", "row 3"), example("Alone")]
    assert duplicate_groups(rows) == [[0, 1], [2, 3], [4]]


def test_gradients_flow_after_an_evaluation_in_the_midst_of_training(monkeypatch: pytest.MonkeyPatch) -> None:
    """bitsandbytes repacks NF4 weights in eval mode on some CPUs, and never undoes it."""
    monkeypatch.setattr("train.model.load.MOST_UNPACKED", 0)  # as with a model that is too large to be unpacked
    model = load_model(resolve_base("tiny"), Training(epochs=1))
    keep_trainable(model)
    ids = torch.arange(5, 25).unsqueeze(0)

    def gradient() -> torch.Tensor:
        tiny = model.get_input_embeddings()(ids).detach().requires_grad_()
        model(inputs_embeds=tiny, labels=ids).loss.backward()
        assert tiny.grad is not None
        return tiny.grad

    model.train()
    before = gradient()
    model.eval()
    with torch.no_grad():
        model(input_ids=ids)
    model.train()
    torch.testing.assert_close(gradient(), before)


@pytest.mark.slow
def test_few_rows_get_their_number_of_epochs_and_a_refit_on_all_of_them(home: Path) -> None:
    done = train(home, "--epochs", "cross-validated")
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("choosing the number of epochs: fold") == 4
    assert "silently incorrect" not in done.stderr
    run = only_run(home)
    folds = Folds.model_validate_json((run / "folds.json").read_text())
    assert len(folds.means) == 12
    result = json.loads((run / "result.json").read_text())
    assert result["epochs"] == folds.epochs
    assert result["steps"] == folds.epochs * 3, "12 rows, 4 a step"
