"""docs/export.md, done: its commands, in its order, with a real engine, each runtime, Chromium and a small Hub."""

import json
import os
import re
import sys
from pathlib import Path

import pytest

from tests.support.adapters import make_adapter, tensors
from tests.support.hub.server import TOKEN, HubServer
from tests.support.shell import Shell
from tests.support.web_page import chatml_base
from train.export.browser import find_chromium
from understudy.config.settings import PROJECT, load_settings
from understudy.registry.registry import open_registry

PAGE = (PROJECT / "docs" / "export.md").read_text()
COMMANDS = re.findall(r"^```bash\n(.*?)^```$", PAGE, re.DOTALL | re.MULTILINE)
FORMS = ["gguf", "gguf", "ollama", "merged", "peft", "web"]
PERSONAS = ("email-copy", "stand-up", "museum-guide")


def test_it_has_a_command_for_every_form():
    assert re.findall(r"--to (\w+)", "".join(COMMANDS)) == FORMS


@pytest.fixture
def shell(tmp_path: Path, hub: HubServer) -> Shell:
    """Three personas that are live on a small base, a Hub, and a folder to export into."""
    cached = tmp_path / "hub" / "models--ann--small" / "snapshots" / ("0" * 40)  # so its public name is known
    base, home = chatml_base(cached), tmp_path / "home"
    registry = open_registry(load_settings(home=home, base=base.name))
    for seed, name in enumerate(PERSONAS):
        adapter = make_adapter(tmp_path / name, tensors(seed=seed, scale=0.02), base_model_name_or_path=base.name)
        revision = registry.push(name, adapter, card={"title": name.title()}, actor="ann")
        registry.set_live(revision, actor="ann", action="publish", detail={})
    places = {
        "UNDERSTUDY_HOME": str(home),
        "UNDERSTUDY_BASE": base.name,
        "COLUMNS": "250",
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
    }
    return Shell({**os.environ, **places, **hub.env(tmp_path / "cache", TOKEN)}, tmp_path)


@pytest.mark.engine
@pytest.mark.slow
@pytest.mark.timeout(900)
def test_every_form_but_the_page_is_proved_and_a_file_for_llama_cpp_comes_back(shell: Shell):
    forms, *_, back = COMMANDS
    shell.run(forms, timeout=800)
    shell.run(back)
    assert shell.said.count("60 of 60 prompts have our tokens") == len(FORMS) - 1
    assert (shell.folder / "email-copy-back" / "adapter_config.json").is_file()


@pytest.mark.engine
@pytest.mark.browser
@pytest.mark.slow
@pytest.mark.long
@pytest.mark.timeout(900)
def test_its_commands_export_prove_deploy_and_come_back(shell: Shell, hub: HubServer):
    if not find_chromium():
        pytest.skip("no chromium on PATH: apt-get install chromium")
    for block in COMMANDS:
        shell.run(block, timeout=800)
    assert len(re.findall(r"60 of 60 prompts have our tokens", shell.said)) == len(FORMS) - 1 + len(PERSONAS)
    files = hub.spaces["ann/voices"].files()
    assert {"index.html", "base.gguf", *(f"personas/{name}.gguf" for name in PERSONAS)} <= set(files)
    record = json.loads((shell.folder / "voices" / "export.json").read_text())
    assert all(proof["runtime"].startswith("WebAssembly") for proof in record["proof"].values())
    assert (shell.folder / "email-copy-back" / "adapter_config.json").is_file()
