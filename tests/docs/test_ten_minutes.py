"""docs/ten-minutes.md, done: its commands, in its order, with a real engine and a small Hub.

The same way from rows to a live persona, by the same commands, is what `tests/circle/test_story.py` goes.
"""

import os
import re
import shlex
import shutil
import sys
from pathlib import Path

import pytest
import typer.main

from tests.support.hub.server import TOKEN, HubServer
from tests.support.shell import Shell
from tests.support.system import RECIPES, wait_for
from understudy.cli.app import app
from understudy.config.settings import PROJECT
from understudy.processes import Child, free_port

PAGE = (PROJECT / "docs" / "ten-minutes.md").read_text()
BLOCKS = re.findall(r"^```(\w+)\n(.*?)^```$", PAGE, re.DOTALL | re.MULTILINE)


def test_every_command_and_option_it_names_exists() -> None:
    commands = typer.main.get_command(app).commands  # pyright: ignore[reportAttributeAccessIssue]
    lines = [line.removeprefix("$ ") for _, text in BLOCKS for line in text.splitlines()]
    named = [shlex.split(line.removeprefix("until ").partition(";")[0]) for line in lines if "understudy " in line]
    named = [words[1:] for words in named if words[0] == "understudy"]
    assert {words[0] for words in named} >= {"data", "check", "train", "verify", "serve", "push", "ask", "history"}
    for name, *words in named:
        command = commands[name]
        while words and words[0] in getattr(command, "commands", {}):
            command = command.commands[words.pop(0)]
        known = {option for parameter in command.params for option in [*parameter.opts, *parameter.secondary_opts]}
        assert {word for word in words if word.startswith("--")} <= known, (name, words)


@pytest.mark.engine
@pytest.mark.slow
@pytest.mark.long
@pytest.mark.timeout(600)
def test_its_commands_lead_from_examples_to_a_live_persona(tmp_path: Path) -> None:
    shutil.copytree(RECIPES, tmp_path / "recipes")
    with HubServer() as hub:
        places = {
            "UNDERSTUDY_HOME": str(tmp_path / "home"),
            "UNDERSTUDY_RUNS_DIR": str(tmp_path / "runs"),
            "UNDERSTUDY_RECIPES_DIR": str(tmp_path / "recipes"),
            "UNDERSTUDY_PORT": str(free_port()),
            "UNDERSTUDY_HUB_POLL": "2",
            "COLUMNS": "250",  # a table keeps its lines
            "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        }
        shell, stages = Shell({**os.environ, **places, **hub.env(tmp_path / "cache", TOKEN)}, tmp_path), []
        try:
            for language, text in BLOCKS:
                if language == "bash":
                    shell.run(text)
                elif language == "console":
                    command = [sys.executable, "-m", *shlex.split(text.removeprefix("$ "))]
                    stages.append(Child(command, log=tmp_path / "stage.log", env=shell.env))
                    wait_for(f"http://127.0.0.1:{places['UNDERSTUDY_PORT']}/ready", stages[-1])
        finally:
            for stage in stages:
                stage.stop()
        pushed, space = hub.repos["ann/house-copy"], hub.spaces["ann/house"]
    assert (tmp_path / "job.py").read_text().startswith("# /// script\n")
    assert "passed" in shell.said
    assert re.search(r"hub:ann/house-copy +publish +" + pushed.refs["v1"][:12], shell.said), shell.said
    assert space.variables["UNDERSTUDY_GATEWAY_URL"] == "https://models.example.org"
    assert set(space.secrets) == {"UNDERSTUDY_API_KEY"}
    assert {"app.py", "README.md", "requirements.txt"} <= set(space.files())
