"""Settings of the engine: what vLLM is started with, or which engine is asked instead."""

from typing import Literal

from pydantic import BaseModel, Field


class EngineSettings(BaseModel):
    """Part of `Settings`: the engine."""

    max_lora_rank: int = 64
    """Largest adapter rank that the engine accepts; vLLM knows 1, 8, 16, 32, 64, 128, 256, 320, 512."""

    slots: int = Field(default=0, ge=0)
    """Adapters that fit in one batch; 0 means one for each persona in the registry, up to 32, plus two, and at least 8.
    Each slot takes memory permanently; personas beyond the slots take turns."""

    tool_call_parser: str = "hermes"
    """How vLLM reads the base's tool calls: `hermes` (Qwen and many others), `llama3_json`, `mistral`, …"""

    dtype: Literal["auto", "float32", "bfloat16", "float16"] = "auto"
    """Data type of the engine. `auto`: the one in the base's configuration; float32 for the tiny base, and on a CPU
    without bfloat16 instructions, where bfloat16 would be many times slower."""

    max_model_len: int = Field(default=0, ge=0)
    """Longest prompt + answer in tokens; 0 means what the base allows (at most 4096 on a CPU)."""

    gpu_memory_utilization: float = Field(default=0.0, ge=0, le=1)
    """Share of GPU memory (on a CPU: of RAM) that vLLM may plan with; 0 means 0.9 on a GPU, 0.3 on a CPU."""

    engine_url: str = ""
    """Address of an external engine (deploy/ray); empty means our own, a child process."""

    cpu_lora: bool = True
    """Whether vLLM on a CPU computes adapters with `serve.engine.cpu_lora` instead of its own slower code."""

    cpu_worker_process: bool = False
    """Whether vLLM on a CPU computes in a separate process with threads bound to cores. It pays off on a machine with
    several sockets; elsewhere it costs a core and delays streams."""

    start_timeout: float = Field(default=300, gt=0)
    """Seconds that the engine gets to load before we give up."""
