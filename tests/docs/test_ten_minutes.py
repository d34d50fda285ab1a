"""docs/ten-minutes.md, done: its commands, in its order, with a real engine and a small Hub; and its free Space, asked.

The same way from rows to a live persona, by the same commands, is what `tests/circle/test_story.py` goes.
"""

import os
import re
import shlex
import shutil
import sys
import time
from pathlib import Path

import pytest
import typer.main
import yaml
from gradio_client import Client

from tests.support.hub.server import TOKEN, HubServer, Space
from tests.support.hub.spaces import ZEROGPU, build_trouble, matter_of, run_space
from tests.support.shell import Shell
from tests.support.space import wait_for_page
from tests.support.system import RECIPES, wait_for
from understudy.bases import TINY_DIR
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


def test_the_free_way_needs_no_gateway() -> None:
    free = PAGE[: PAGE.index("\n## 5. ")]
    blocks = "".join(text for _, text in re.findall(r"^```(\w+)\n(.*?)^```$", free, re.DOTALL | re.MULTILINE))
    assert "--flavor zerogpu" in blocks
    for served in ("serve", "ask", "history", "rollback", "publish", "personas.yaml", "--endpoint"):
        assert not re.search(rf"\b{served}\b", blocks), served


@pytest.mark.engine
@pytest.mark.slow
@pytest.mark.long
@pytest.mark.timeout(900)
def test_its_commands_lead_from_examples_to_a_live_persona(tmp_path: Path) -> None:
    shutil.copytree(RECIPES, tmp_path / "recipes")
    (tmp_path / "tiny").symlink_to(TINY_DIR)  # the tests' base is not on the Hub; PEFT finds it by its name here
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
                elif language == "python":
                    shell.run(f"python - <<'END'\n{text}assert model.peft_config\nEND")
                elif language == "console":
                    command = [sys.executable, "-m", *shlex.split(text.removeprefix("$ "))]
                    stages.append(Child(command, log=tmp_path / "stage.log", env=shell.env))
                    wait_for(f"http://127.0.0.1:{places['UNDERSTUDY_PORT']}/ready", stages[-1])
        finally:
            for stage in stages:
                stage.stop()
        pushed, free, space = hub.repos["ann/house-copy"], hub.spaces["ann/house-zero"], hub.spaces["ann/house"]
        revision = pushed.refs["v1"][:12]
        assert ask_space(hub, free, tmp_path / "zero") == revision
    assert [language for language, _ in BLOCKS].count("sh") == 2, "those that the page says are not run"
    assert (tmp_path / "job.py").read_text().startswith("# /// script\n")
    assert "passed" in shell.said
    assert re.search(r"hub:ann/house-copy +publish +" + revision, shell.said), shell.said
    assert "](https://huggingface.co/spaces/ann/house-zero)" in pushed.files("v1")["README.md"].decode()

    there = free.files()
    assert build_trouble(there) is None
    assert (free.sdk, free.hardware, free.private, free.secrets) == ("gradio", ZEROGPU, False, {})
    assert free.variables == {"UNDERSTUDY_BASE": "tiny"}
    about = {"title": "The house voices", "models": ["ann/house-copy"], "suggested_hardware": ZEROGPU}
    assert about.items() <= matter_of(there).items()
    assert yaml.safe_load(there["personas.yaml"]) == {"house-copy": {"repo": "ann/house-copy"}}

    assert space.variables["UNDERSTUDY_GATEWAY_URL"] == "https://models.example.org"
    assert set(space.secrets) == {"UNDERSTUDY_API_KEY"}
    assert {"app.py", "README.md", "requirements.txt"} <= set(space.files())
    secrets = [TOKEN, *space.secrets.values()]
    sent = b"".join([*there.values(), *space.files().values(), *pushed.files("v1").values()])
    assert not [secret for secret in secrets if secret.encode() in sent]


def ask_space(hub: HubServer, space: Space, folder: Path) -> str:
    """Starts a Space from its files alone, asks its persona, and returns the revision that is live there."""
    port = free_port()
    env = {"UNDERSTUDY_HUB_POLL": "1", "OMP_NUM_THREADS": "1", **space.variables, **hub.env(folder.with_name("hf"))}
    process, log = run_space(space.files(), folder, env, port), folder.with_suffix(".log")
    try:
        wait_for_page(f"http://127.0.0.1:{port}", process, log)
        client, deadline = Client(f"http://127.0.0.1:{port}", verbose=False), time.monotonic() + 90
        while time.monotonic() < deadline:
            listed = {one["name"]: one for one in client.predict(api_name="/personas")}
            if "house-copy" in listed:
                said = client.predict("Write a marketing email for my bakery.", "house-copy", api_name="/chat")
                assert len(said.split()) > 5, said
                return str(listed["house-copy"]["revision"])[:12]
            time.sleep(0.5)
        raise AssertionError(f"house-copy did not become live:\n{log.read_text()[-3000:]}")
    finally:
        process.terminate()
        process.wait(20)
