"""The command line as people meet it: help, versions, exit codes, and errors of one line."""

import os
import re
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from tests.support.command_line import Done
from tests.support.pirate import understudy
from understudy.cli.app import PANELS, app

COMMANDS = [name for names in PANELS.values() for name in names]
SUBCOMMANDS = [
    *("data augment", "data inspect", "base prepare", "keys create", "keys list", "keys revoke"),
    *("space deploy", "votes export", "votes restore"),
]


def test_help_names_every_command_and_loads_nothing_heavy() -> None:
    program = (
        "import sys\nfrom understudy.cli.app import app\n"
        "heavy = {'torch', 'gradio', 'vllm', 'trl', 'transformers', 'fastapi', 'sqlalchemy', 'rich', 'httpx'}\n"
        "try:\n    app(['--help'])\nfinally:\n    assert not heavy & set(sys.modules), heavy & set(sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True)
    assert all(f"\n  {command} " in done.stdout for command in COMMANDS)


def test_help_has_the_order_of_the_pipeline_and_a_place_for_every_command() -> None:
    shown = CliRunner().invoke(app, ["--help"], terminal_width=80).stdout
    listed = "Start here:" + shown.partition("Start here:")[2]
    assert re.findall(r"^(\w[\w ]+):$", listed, re.MULTILINE) == list(PANELS)
    order = ["data", "check", "train", "verify", "push", "publish", "rollback", "rank", "space", "keys"]
    places = [listed.index(f"\n  {command} ") for command in order]
    assert places == sorted(places)
    assert "..." not in listed, "a command's line is too long"
    assert all(len(line) <= 80 for line in shown.splitlines())


def test_every_command_explains_itself() -> None:
    for command in [*COMMANDS, *SUBCOMMANDS]:
        done = CliRunner().invoke(app, [*command.split(), "--help"], prog_name="understudy")
        assert done.exit_code == 0, command
        assert f"Usage: understudy {command} " in done.stdout
        assert len(done.stdout.splitlines()) > 5, command


def test_version_is_said() -> None:
    assert re.fullmatch(r"understudy \d+\.\d+\.\d+\n", CliRunner().invoke(app, ["--version"]).stdout)


def alone(home: Path, *arguments: str, **env: str) -> Done:
    """The command in a process of its own, as the shell starts it."""
    places = {"UNDERSTUDY_HOME": str(home / "home"), "UNDERSTUDY_RUNS_DIR": str(home / "runs")}
    command = [sys.executable, "-m", "understudy", *arguments]
    done = subprocess.run(command, env={**os.environ, **places, **env}, capture_output=True, text=True, timeout=120)
    return Done(done.returncode, done.stdout, done.stderr)


@pytest.fixture
def recipes(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A home with one recipe, and no gateway."""
    (tmp_path / "recipes" / "poet").mkdir(parents=True)
    (tmp_path / "recipes" / "poet" / "recipe.yaml").write_text("title: Poet\nvoice: Rhymes.\nprompts: [Hi.]\n")
    monkeypatch.setenv("UNDERSTUDY_PORT", "1")
    return tmp_path


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (("train", "nobody"), 1, "error: no recipe 'nobody': .*recipes there are: poet"),
        (("publish", "nobody"), 1, "error: nobody has no revision yet"),
        (("rollback", "nobody"), 1, "error: no persona 'nobody'; personas there are: none yet"),
        (("history", "nobody"), 1, "error: no persona 'nobody'"),
        (("push", "nobody"), 1, "error: nobody has no finished run"),
        (("validate", "/nowhere"), 1, ""),
        (("ask", "base", "Hi"), 1, "error: no gateway at http://127.0.0.1:1; start one with `understudy serve`"),
        (("train", "poet", "--set", "neftune"), 1, "error: --set 'neftune': use NAME=VALUE"),
        (("verify", "poet", "--no-engine"), 2, "--no-engine: .*use --engine own|gateway|auto"),
        (("base", "build", "--quick"), 2, "error: this command is now `python -m tools.tiny_base.pretrain`"),
        (("base", "eval", "/nowhere"), 2, "error: this command is now `python -m tools.tiny_base.evaluate`"),
        (("train",), 2, "Missing argument 'recipe'"),
        (("nonsense",), 2, "No such command 'nonsense'"),
    ],
)
def test_what_cannot_be_done_is_said_in_one_line(
    recipes: Path, arguments: tuple[str, ...], code: int, says: str
) -> None:
    done = understudy(recipes, *arguments)
    assert done.returncode == code
    assert "Traceback" not in done.stderr
    assert re.search(says, done.stderr), done.stderr


def test_an_error_is_one_line_and_an_exit_code_in_a_process_of_its_own_too(tmp_path: Path) -> None:
    done = alone(tmp_path, "train", "nobody")
    assert done.returncode == 1
    assert done.stdout == ""
    assert done.stderr.startswith("error: no recipe 'nobody'")
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize(
    ("command", "option", "variable"),
    [
        ("serve", "--port", "UNDERSTUDY_PORT"),
        ("space", "--space-port", "UNDERSTUDY_SPACE_PORT"),
        ("demo", "--port", ""),
    ],
)
def test_a_busy_port_says_which_and_how_to_change_it(tmp_path: Path, command: str, option: str, variable: str) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        done = alone(tmp_path, command, option, port)
    assert done.returncode == 1
    assert f"port {port}" in done.stderr
    assert option in done.stderr
    assert variable in done.stderr


def test_a_wrong_variable_is_named(recipes: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("UNDERSTUDY_PORT", "many")
    done = understudy(recipes, "personas")
    assert done.returncode == 1
    assert "UNDERSTUDY_PORT" in done.stderr
    assert "found 'many'" in done.stderr


def test_personas_lists_recipes_that_are_not_trained_yet(recipes: Path) -> None:
    done = understudy(recipes, "personas")
    assert done.returncode == 0
    assert "poet" in done.stdout
    assert "not trained" in done.stdout
