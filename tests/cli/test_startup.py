"""What must not be imported, because it was the greatest waste when `bench.startup` looked."""

import subprocess
import sys

import pytest

LIGHT = "from train.light import import_lightly\nimport_lightly()\n"
WASTE = {
    "trainer": (
        LIGHT + "import train.sft, peft, bitsandbytes",
        ("sklearn", "scipy.optimize", "torch._inductor.compile_fx"),
    ),
    "verification": (LIGHT + "import evaluate.collect", ("sklearn", "scipy.optimize", "torch._inductor.compile_fx")),
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


def test_bitsandbytes_quantises_as_ever_when_it_is_imported_lightly() -> None:
    """Same packed weights, same values back, with its functions compiled and as they are written."""
    use = (
        "import torch, bitsandbytes.functional as f\n"
        "w = torch.randn(64, 128, generator=torch.Generator().manual_seed(0))\n"
        "q, state = f.quantize_4bit(w, quant_type='nf4', compress_statistics=True)\n"
        "print(q.sum().item(), f.dequantize_4bit(q, state).double().sum().item(), torch.compile.__module__)"
    )
    said = [
        subprocess.run([sys.executable, "-c", start + use], capture_output=True, text=True, check=True).stdout
        for start in (LIGHT, "")
    ]
    assert said[0] == said[1]
