"""The command line as people meet it: help, versions, exit codes, and errors of one line."""

import os
import re
import socket
import subprocess
import sys
from pathlib import Path

import pytest

COMMANDS = [
    *("demo", "check", "train", "verify", "sweep", "serve", "space", "push", "publish", "promote", "rollback"),
    *("personas", "history", "validate", "ask", "eval-code", "rank", "report", "compare", "preferences"),
]
GROUPS = [
    *("data augment", "data inspect", "base build", "base eval", "keys create", "keys list", "keys revoke"),
    *("space deploy", "votes export", "votes restore"),
]


def cli(*arguments: str, home: Path, **env: str) -> subprocess.CompletedProcess[str]:
    places = {"UNDERSTUDY_HOME": str(home / "home"), "UNDERSTUDY_RUNS_DIR": str(home / "runs")}
    return subprocess.run(
        [sys.executable, "-m", "understudy", *arguments],
        env={**os.environ, **places, **env},
        capture_output=True,
        text=True,
        timeout=120,
    )


def test_help_names_every_command_and_loads_nothing_heavy(tmp_path: Path) -> None:
    program = (
        "import sys\nfrom understudy.cli.app import app\n"
        "heavy = {'torch', 'gradio', 'vllm', 'trl', 'transformers', 'fastapi', 'sqlalchemy', 'rich'}\n"
        "try:\n    app(['--help'])\nfinally:\n    assert not heavy & set(sys.modules), heavy & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", program], check=True)
    shown = cli("--help", home=tmp_path)
    assert shown.returncode == 0
    assert all(f"\n  {command} " in shown.stdout for command in [*COMMANDS, "data", "base", "keys"])


def test_help_has_the_order_of_the_pipeline_and_a_place_for_every_command(tmp_path: Path) -> None:
    shown = cli("--help", home=tmp_path).stdout
    listed = "Start here:" + shown.partition("Start here:")[2]
    headings = re.findall(r"^(\w[\w ]+):$", listed, re.MULTILINE)
    assert headings == ["Start here", "Teach", "Prove", "Stage", "Arena and votes", "Hub and Spaces", "Housekeeping"]
    order = ["data", "check", "train", "verify", "push", "publish", "rollback", "rank", "space", "keys"]
    places = [listed.index(f"\n  {command} ") for command in order]
    assert places == sorted(places)
    assert "..." not in listed, "a command's line is too long"
    assert all(len(line) <= 80 for line in shown.splitlines())


@pytest.mark.parametrize("command", [*COMMANDS, *GROUPS])
def test_every_command_explains_itself(tmp_path: Path, command: str) -> None:
    shown = cli(*command.split(), "--help", home=tmp_path)
    assert shown.returncode == 0
    assert f"Usage: python -m understudy {command} " in shown.stdout
    assert len(shown.stdout.splitlines()) > 5


def test_version_is_said(tmp_path: Path) -> None:
    assert cli("--version", home=tmp_path).stdout.startswith("understudy 0.")


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (("train", "nobody"), 1, "error: no recipe 'nobody': .*recipes there are: .*email-copy, .*stand-up"),
        (("publish", "nobody"), 1, "error: nobody has no revision yet"),
        (("rollback", "nobody"), 1, "error: no persona 'nobody'; personas there are: none yet"),
        (("history", "nobody"), 1, "error: no persona 'nobody'"),
        (("push", "nobody"), 1, "error: nobody has no finished run"),
        (("validate", "/nowhere"), 1, ""),
        (("ask", "base", "Hi"), 1, "error: no gateway at http://127.0.0.1:1; start one with `understudy serve`"),
        (("base", "eval", "/nowhere"), 1, "error: /nowhere: no model there"),
        (("train",), 2, "Missing argument 'recipe'"),
        (("nonsense",), 2, "No such command 'nonsense'"),
    ],
)
def test_what_cannot_be_done_is_said_in_one_line(
    tmp_path: Path, arguments: tuple[str, ...], code: int, says: str
) -> None:
    done = cli(*arguments, home=tmp_path, UNDERSTUDY_PORT="1")
    assert done.returncode == code
    assert "Traceback" not in done.stderr
    assert re.search(says, done.stderr), done.stderr


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
        done = cli(command, option, port, home=tmp_path)
    assert done.returncode == 1
    assert f"port {port}" in done.stderr
    assert option in done.stderr
    assert variable in done.stderr


def test_a_wrong_variable_is_named(tmp_path: Path) -> None:
    done = cli("personas", home=tmp_path, UNDERSTUDY_PORT="many")
    assert done.returncode == 1
    assert "UNDERSTUDY_PORT" in done.stderr
    assert "found 'many'" in done.stderr


def test_personas_lists_recipes_that_are_not_trained_yet(tmp_path: Path) -> None:
    done = cli("personas", home=tmp_path)
    assert done.returncode == 0
    assert "email-copy" in done.stdout
    assert "not trained" in done.stdout
