"""What must not be imported by a part that does not use it: `bench.startup` found it to be the largest waste."""

import subprocess
import sys

import pytest

WASTE = {
    "gateway": ("import serve.app, serve.state, understudy.workflows.personas", ("torch", "transformers", "vllm")),
    "Space": ("import space.app", ("torch", "transformers", "vllm", "matplotlib")),
    "demo": ("import understudy.workflows.demo, understudy.cli.show_demo", ("torch", "transformers", "gradio")),
    "training's command": ("import understudy.workflows.train, understudy.cli.show_training", ("torch", "gradio")),
}


@pytest.mark.parametrize("what", WASTE)
def test_what_is_not_used_is_not_imported(what: str) -> None:
    code, heavy = WASTE[what]
    program = f"{code}\nimport sys\nprint(*(set({heavy!r}) & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert not done.stdout.strip()
