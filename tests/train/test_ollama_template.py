"""The Modelfile's template, rendered by Go's template engine, against the base's own chat template."""

from pathlib import Path

import pytest

from tests.support.go_template import build, render
from tests.support.web_page import chatml_base
from train.export.ollama import modelfile
from understudy.bases import SMOLLM2, TINY, Base, require_base
from understudy.errors import BaseModelError
from understudy.workflows.exports.proof import rendered

pytestmark = [pytest.mark.slow, pytest.mark.long, pytest.mark.timeout(900)]

USER, ANSWER = (
    {"role": "user", "content": 'Sell me a "kite" {{ .Prompt }}\n'},
    {"role": "assistant", "content": " Fly! "},
)
CHATS = [
    [USER],
    [{"role": "system", "content": "Be brief."}, USER],
    [USER, ANSWER, {"role": "user", "content": "四 🎭 <b>\\n"}],
    [{"role": "system", "content": "Be\nbrief."}, USER, ANSWER, USER, ANSWER, USER],
]


def written(base: Base) -> str:
    return modelfile(
        "base.gguf",
        None,
        render=lambda chat: rendered(base, [chat])[0],
        generation={},
        stop="<|im_end|>",
        context=2048,
    )


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(tmp_path_factory.mktemp("go"))


@pytest.mark.parametrize("name", [SMOLLM2, TINY])
def test_go_renders_what_the_chat_template_renders(name: str, program: Path, tmp_path: Path):
    try:
        base = require_base(name) if name == SMOLLM2 else chatml_base(tmp_path / "base")
    except BaseModelError as error:
        pytest.skip(str(error))
    assert render(program, written(base), CHATS) == rendered(base, CHATS)
