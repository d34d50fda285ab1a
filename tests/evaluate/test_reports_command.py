"""`understudy report`: what it writes and where, and what it refuses."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from tests.support.verified_runs import runs_dir
from understudy.cli.app import app
from understudy.errors import NotFoundError, UnderstudyError

__all__ = ["runs_dir"]


@pytest.fixture
def stage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home with the recipe `pirate` and no runs yet."""
    recipe = tmp_path / "recipes" / "pirate"
    recipe.mkdir(parents=True)
    (recipe / "recipe.yaml").write_text("title: Pirate\nvoice: From the deck.\nprompts: [Tell me about a teapot.]\n")
    for name in ("recipes", "runs", "home"):
        variable = {"recipes": "RECIPES_DIR", "runs": "RUNS_DIR", "home": "HOME"}[name]
        monkeypatch.setenv(f"UNDERSTUDY_{variable}", str(tmp_path / name))
    return tmp_path


@pytest.fixture
def folder(stage: Path, runs_dir: Path) -> Path:
    """A verified run in that home."""
    return shutil.copytree(runs_dir / "pirate" / "aaaa11112222", stage / "runs" / "pirate" / "aaaa11112222")


def test_the_command_writes_markdown_and_on_request_html_and_says_where(stage: Path, folder: Path) -> None:
    answers = stage / "a.jsonl"
    answers.write_text('{"prompt": "Tell me about a drum.", "answer": "Boom."}')
    done = CliRunner().invoke(app, ["report", "pirate", "--answers", f"Claude={answers}"], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    written = sorted(str(path.relative_to(folder / "report")) for path in (folder / "report").rglob("*.*"))
    assert written == ["figures/curves.svg", "figures/loss.svg", "figures/style.svg", "report.md"]
    assert str(folder / "report" / "report.md") in done.output
    assert "index.html" not in done.output
    assert "Claude: Prompts without an answer in a.jsonl: 9 (" in done.output
    markdown = (folder / "report" / "report.md").read_text()
    for link in re.findall(r"\]\((figures/[^)]+)\)", markdown):
        assert (folder / "report" / link).is_file()
    elsewhere = CliRunner().invoke(app, ["report", "pirate", "--run", "aaaa", "--out", str(stage / "out"), "--html"])
    assert elsewhere.exit_code == 0
    assert str(stage / "out" / "index.html") in elsewhere.output


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["nobody"], "no recipe 'nobody'"),
        (["pirate"], "pirate is not verified yet; run `understudy verify pirate` first"),
        (["pirate", "--run", "x"], "no run begins with 'x'; runs there are: none"),
    ],
)
def test_what_is_missing_is_said(stage: Path, arguments: list[str], says: str) -> None:
    with pytest.raises(NotFoundError, match=says):
        CliRunner().invoke(app, ["report", *arguments], catch_exceptions=False)


@pytest.mark.parametrize("given", ["answers.jsonl", "=answers.jsonl", "Claude="])
@pytest.mark.usefixtures("folder")
def test_answers_without_a_name_are_refused(given: str) -> None:
    with pytest.raises(UnderstudyError, match="write NAME=FILE, such as Claude=answers.jsonl"):
        CliRunner().invoke(app, ["report", "pirate", "--answers", given], catch_exceptions=False)


@pytest.mark.usefixtures("folder")
def test_a_place_that_cannot_be_written_to_is_named(stage: Path) -> None:
    (stage / "file").write_text("taken")
    with pytest.raises(UnderstudyError, match="file: cannot write there .*; give another folder with --out"):
        CliRunner().invoke(app, ["report", "pirate", "--out", str(stage / "file")], catch_exceptions=False)


def test_a_report_loads_neither_models_nor_the_web() -> None:
    program = (
        "import sys\nimport evaluate.reports.figures, evaluate.reports.build, evaluate.reports.html\n"
        "import evaluate.reports.markdown, evaluate.reports.imported_answers\n"
        "heavy = {'torch', 'transformers', 'sentence_transformers', 'vllm', 'gradio', 'fastapi', 'httpx', 'openai',"
        " 'train', 'serve', 'space', 'matplotlib.pyplot'} & set(sys.modules)\nassert not heavy, heavy"
    )
    subprocess.run([sys.executable, "-c", program], check=True)
