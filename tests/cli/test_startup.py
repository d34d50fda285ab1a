"""What must not be imported, because it was the greatest waste when `bench.startup` looked."""

import subprocess
import sys

import pytest

WASTE = {
    "gateway": ("import serve.app, serve.state, understudy.cli.personas", ("torch", "transformers", "vllm")),
    "Space": ("import space.app", ("torch", "transformers", "vllm", "matplotlib")),
    "demo": ("import understudy.cli.demo", ("torch", "transformers", "gradio", "fastapi")),
}


@pytest.mark.parametrize("what", WASTE)
def test_what_is_not_used_is_not_imported(what: str) -> None:
    code, heavy = WASTE[what]
    told = f"{code}\nimport sys\nprint(*(set({heavy!r}) & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", told], capture_output=True, text=True, check=True)
    assert not done.stdout.strip()
