"""The README does what it says: its commands exist, its files are there, its examples run."""

import contextlib
import io
import json
import re
from pathlib import Path

import httpx
import pytest
import typer.main

from tests.support.system import System
from understudy.cli.app import app
from understudy.config.recipe import load_recipe
from understudy.config.settings import PROJECT
from understudy.data.load import load_examples

README = (PROJECT / "README.md").read_text()


FENCED = re.compile(r"^```(\w*)\n(.*?)^```$", re.DOTALL | re.MULTILINE)


def blocks(language: str) -> list[str]:
    """The code blocks in that language; "" for those that name none."""
    return [text for name, text in FENCED.findall(README) if name == language]


def test_every_command_it_names_exists() -> None:
    known = set(typer.main.get_command(app).commands)  # pyright: ignore[reportAttributeAccessIssue]
    inline = re.findall(r"`([^`]+)`", FENCED.sub("", README))
    named = set(re.findall(r"understudy ([a-z]+)(?= |$)", "\n".join([*blocks("bash"), *inline]), re.MULTILINE))
    assert {"demo", "train", "publish", "rollback", "history", "ask", "base"} <= named
    assert named <= known


def test_it_is_short() -> None:
    assert len(README.splitlines()) <= 150, "the rest goes to docs/"


def test_every_make_target_it_names_exists() -> None:
    targets = set(re.findall(r"^([a-z-]+):", (PROJECT / "Makefile").read_text(), re.MULTILINE))
    named = set(re.findall(r"\bmake ([a-z-]+)", README))
    assert {"demo", "test", "check"} <= named
    assert named <= targets


def test_every_place_in_the_file_tree_is_there() -> None:
    (tree,) = [block for block in blocks("") if "recipes/" in block]
    places = re.findall(r"^\s*([\w./]+/)(?=\s)|(?<=\s)(setup\.sh|Makefile|Dockerfile|\.ci/run)", tree, re.MULTILINE)
    names = [first or second for first, second in places]
    assert len(names) >= 12
    for name in names:
        assert (PROJECT / name).exists() or (PROJECT / "understudy" / name).exists(), name


def test_links_and_pictures_lead_somewhere() -> None:
    links = [link for link in re.findall(r"\]\(([^)]+)\)", README) if not link.startswith("http")]
    assert len(links) >= 3
    for link in links:
        assert (PROJECT / link).is_file(), link


def test_its_recipe_is_a_recipe_and_its_example_an_example(tmp_path: Path) -> None:
    (recipe,) = blocks("yaml")
    (example,) = blocks("json")
    folder = tmp_path / "pirate"
    folder.mkdir()
    (folder / "recipe.yaml").write_text(recipe)
    (folder / "examples.jsonl").write_text(example)
    assert load_recipe("pirate", tmp_path).training.learning_rate == 0, "auto"
    assert load_examples(folder / "examples.jsonl")[0].answer.startswith("Arr!")


@pytest.mark.engine
def test_its_openai_example_and_its_curl_call_work(system: System) -> None:
    (program,) = blocks("python")
    said = io.StringIO()
    with contextlib.redirect_stdout(said):
        exec(program.replace("http://127.0.0.1:8000", system.gateway_url), {})
    assert re.findall(r"^--- (\S+)", said.getvalue(), re.MULTILINE) == ["base", "email-copy", "stand-up"]
    (curl,) = [block for block in blocks("bash") if block.startswith("curl")]
    body = json.loads(re.search(r"-d '(.*)'", curl, re.DOTALL).group(1))  # pyright: ignore
    answer = httpx.post(f"{system.gateway_url}/v1/chat/completions", json=body, timeout=60)
    assert answer.json()["choices"][0]["message"]["content"]
