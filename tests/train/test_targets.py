"""Targets are checked against the base's own modules, before anything is loaded."""

import pytest

from train.model.targets import check_targets
from understudy.bases import read_model_config, resolve_base
from understudy.config.training import Training
from understudy.errors import TrainingError

TINY = resolve_base("tiny")
LAYERS = read_model_config(TINY)["num_hidden_layers"]


@pytest.mark.parametrize(
    ("targets", "says"),
    [
        ("all-linear", "all linear modules"),
        (["q_proj", "v_proj"], "N q_proj, N v_proj"),
        (["layers.0.self_attn.q_proj"], "1 layers.0.self_attn.q_proj"),
        (r".*\.(q|v)_proj", "M modules"),
        (["embed_tokens", "q_proj"], "1 embed_tokens, N q_proj"),
    ],
)
def test_targets_that_are_there_are_counted(targets: str | list[str], says: str) -> None:
    expected = says.replace("N", str(LAYERS)).replace("M", str(2 * LAYERS))
    assert check_targets(TINY, Training(targets=targets)) == expected


@pytest.mark.parametrize(
    ("targets", "says"),
    [
        (["q_proj", "nosuch_proj"], "tiny has no module 'nosuch_proj'; did you mean"),
        (["q_prj"], "did you mean 'q_proj'"),
        (["Q_PROJ"], "tiny has no module 'Q_PROJ'"),
        (["mlp"], "which can have no adapter of its own"),
        (["norm"], "which can have no adapter of its own"),
        (["all-linear"], "tiny has no module 'all-linear'"),
        (["all-linear", "q_proj"], "tiny has no module 'all-linear'"),
        ([], "the list is empty; name modules of tiny"),
        ([""], "tiny has no module ''"),
        ("q_proj,v_proj", r"write a list: \[q_proj, v_proj\]"),
        ("q_proj v_proj", r"write a list: \[q_proj, v_proj\]"),
        ("q_proj", r"write a list: \[q_proj\]"),
        ("all_linear", "did you mean 'all-linear'"),
        ("nosuch", "tiny has no module 'nosuch'"),
        ("(q_proj", "is no regular expression"),
        ("*q_proj", "is no regular expression"),
        (r".*mlp", "which can have no adapter of its own"),
        ("", "tiny has no module ''"),
    ],
)
def test_targets_that_the_base_does_not_have_are_named(targets: str | list[str], says: str) -> None:
    with pytest.raises(TrainingError, match=says) as caught:
        check_targets(TINY, Training(targets=targets))
    assert "\n" not in str(caught.value)
    assert "q_proj" in str(caught.value) or "regular" in str(caught.value)
