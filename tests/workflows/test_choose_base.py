"""A recipe is worked on with the base it is made for, where the Hub has it and this machine can hold it."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.hub.server import TOKEN, HubServer, Repo
from tests.support.pirate import RECIPE, ROWS, places
from tests.support.prepared_base import stand_in
from understudy.bases import TINY_DIR
from understudy.config.settings import PROJECT

CHOICE = """
import sys
from understudy.config.recipe import load_recipe
from understudy.config.settings import load_settings
from understudy.workflows.choose_base import choose_base
settings = load_settings()
report = lambda text: print(text, file=sys.stderr)
print(choose_base(settings, load_recipe("pirate", settings.recipes_dir), None, report=report).name)
"""


@pytest.fixture
def hub() -> Iterator[HubServer]:
    with HubServer() as server:
        for name, repo in {"ann/base": Repo(), "ann/gated": Repo(gated=True), "ann/plain": Repo()}.items():
            files = {p.name: p.read_bytes() for p in TINY_DIR.iterdir() if p.is_file()}
            if name == "ann/plain":
                del files["chat_template.jinja"]
            repo.commit(files)
            server.repos[name] = repo
        yield server


def chosen(home: Path, hub: HubServer, recipe: str, program: str = CHOICE, **env: str) -> subprocess.CompletedProcess:
    """What a process with the real Hub client chooses for the recipe `pirate`; the default base is prepared."""
    folder = home / "recipes" / "pirate"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "recipe.yaml").write_text(RECIPE + recipe)
    (folder / "examples.jsonl").write_text("".join(json.dumps(row) + "\n" for row in ROWS))
    if not (home / "bases").exists():
        stand_in(home / "bases")
    outer = {k: v for k, v in os.environ.items() if k != "UNDERSTUDY_BASE"}
    ours = {**outer, "PYTHONPATH": str(PROJECT), **hub.env(home / "hf"), **places(home)}
    env = {**ours, "UNDERSTUDY_BASES_DIR": str(home / "bases"), **env}
    return subprocess.run([sys.executable, "-c", program], env=env, capture_output=True, text=True, timeout=120)


def test_the_base_of_the_recipe_is_used_where_the_hub_has_it(hub: HubServer, tmp_path: Path) -> None:
    done = chosen(tmp_path, hub, "base: ann/base\n")
    assert (done.stdout, done.stderr) == ("ann/base\n", "")


@pytest.mark.parametrize(
    ("recipe", "env", "says"),
    [
        (
            "base: ann/nothing\n",
            {},
            "pirate is made for ann/nothing: not on the Hub, or private; check the name",
        ),
        ("base: ann/base\n", {"HF_ENDPOINT": "http://127.0.0.1:9"}, "pirate is made for ann/base: the Hub cannot be"),
        ("base: ann/base\n", {"UNDERSTUDY_BASE": "tiny"}, ""),
        ("", {}, ""),
    ],
)
def test_else_the_base_in_the_settings_is_and_the_reason_is_said(
    hub: HubServer, tmp_path: Path, recipe: str, env: dict[str, str], says: str
) -> None:
    done = chosen(tmp_path, hub, recipe, **env)
    assert done.stdout == env.get("UNDERSTUDY_BASE", "smollm2") + "\n"
    assert done.stderr.startswith(says)
    assert bool(done.stderr) == bool(says)
    assert not says or done.stderr.endswith(". Working on the smollm2 base instead.\n")


def test_a_base_that_is_too_large_for_this_machine_is_not_fetched(hub: HubServer, tmp_path: Path) -> None:
    enlarged = CHOICE.replace(
        "settings = ",
        "from understudy.workflows import choose_base as module; module.MOST_WEIGHTS_ON_A_CPU = 1e6\nsettings = ",
    )
    done = chosen(tmp_path, hub, "base: ann/base\n", enlarged, CUDA_VISIBLE_DEVICES="")
    assert done.stdout == "smollm2\n"
    assert "billion weights and there is no GPU here. Working" in done.stderr
    assert list((tmp_path / "hf").rglob("*.safetensors")) == []


def test_a_base_without_a_chat_template_is_prepared_once_with_the_one_of_the_recipe(
    hub: HubServer, tmp_path: Path
) -> None:
    (tmp_path / "recipes" / "pirate").mkdir(parents=True)
    template = (PROJECT / "recipes" / "instruct" / "chat_template.jinja").read_text()
    (tmp_path / "recipes" / "pirate" / "chat.jinja").write_text(template)
    recipe = "base: ann/plain\nchat_template: chat.jinja\n"
    first, second = (chosen(tmp_path, hub, recipe) for _ in range(2))
    folder = tmp_path / "home" / "bases" / "plain"
    assert first.stdout == second.stdout == f"{folder}\n", first.stderr
    assert "has no chat template: preparing it in" in first.stderr
    assert second.stderr == ""
    assert (folder / "chat_template.jinja").read_text() == template


@pytest.mark.slow
def test_training_starts_from_the_base_of_the_recipe_with_the_real_clients(hub: HubServer, tmp_path: Path) -> None:
    train = "import sys; sys.argv = ['understudy', 'train', 'pirate']\nfrom understudy.cli import main\nmain()"
    done = chosen(tmp_path, hub, "base: ann/base\n", train, HF_TOKEN=TOKEN)
    assert done.returncode == 0, done.stderr
    assert "UNDERSTUDY_BASE=ann/base understudy serve" in done.stderr
    (made,) = (tmp_path / "runs" / "pirate").iterdir()
    settings = json.loads((made / "adapter" / "training.json").read_text())
    assert settings["base"] == "ann/base"
    assert settings["base_revision"] == hub.repos["ann/base"].refs["main"]
    config = json.loads((made / "adapter" / "adapter_config.json").read_text())
    assert (config["base_model_name_or_path"], config["revision"]) == ("ann/base", settings["base_revision"])
