"""The engine: vLLM's own OpenAI server as a child process on loopback, behind the gateway."""

import asyncio
import importlib.metadata
import json
import logging
import os
import sys
from pathlib import Path

import aiohttp
from pydantic import BaseModel, ConfigDict

from serve.engine.adapter_engine import BASE_NAME
from understudy.bases import Base, base_revision, read_model_config
from understudy.bases.precision import serving_dtype
from understudy.config.settings import Settings
from understudy.errors import EngineError
from understudy.processes import ENGINE_MODULE, QUIET_OPENMP, Child, free_port

log = logging.getLogger("understudy.engine")

RANKS = (1, 8, 16, 32, 64, 128, 256, 320, 512)
"""Maximum ranks that vLLM 0.32 accepts."""

MOST_PERSONAS = 32
"""Personas that get a slot of their own unless the settings allow more. Each slot takes memory permanently, 300 MB
for a 7B base at rank 64; further personas take turns."""

SPARE_SLOTS = 2
"""One for a candidate and one for a revision that is being drained."""

CONNECT_SECONDS = 5.0
READ_SECONDS = 300.0
"""Longest silence of the engine in an answer to people."""

KEEP_ALIVE = 2.0
"""Seconds for which an idle connection to the engine is reused. vLLM's server closes it after 5, and a request sent
in that moment would be lost."""

CPU_CONTEXT = 4096
"""Longest context that is planned for on a CPU, in tokens."""


def engine_session(*, patient: bool = False) -> aiohttp.ClientSession:
    """Opens a session for engines: unlimited connections, none of which the engine may have closed.

    With `patient` it waits for an answer however long it takes, which on a busy CPU can be many minutes for a batch;
    an engine that dies ends its connections.
    """
    connector = aiohttp.TCPConnector(limit=0, keepalive_timeout=KEEP_ALIVE)
    read = None if patient else READ_SECONDS
    timeout = aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_SECONDS, sock_read=read)
    return aiohttp.ClientSession(timeout=timeout, connector=connector, auto_decompress=False)


class EnginePlan(BaseModel):
    """What the engine is started with."""

    model_config = ConfigDict(frozen=True)

    base: Base
    port: int
    slots: int
    """Adapters that can be in one batch; beyond this number requests wait for each other."""
    max_rank: int
    max_model_len: int
    """In tokens; 0 lets vLLM decide."""
    memory_share: float
    on_cpu: bool
    dtype: str = "auto"
    """Type that it computes in, by vLLM's name."""
    tool_call_parser: str = "hermes"
    cpu_lora: bool = True
    """Whether the plugin `serve.engine.cpu_lora.plugin` computes the adapters on a CPU."""
    worker_process: bool = False
    """Whether vLLM on a CPU computes in a worker process beside its scheduler."""
    threads: int = 1
    """Threads that compute on a CPU, unless the worker process chooses."""


def plan_engine(settings: Settings, base: Base, personas: int, *, on_cpu: bool | None = None) -> EnginePlan:
    """Sizes the engine for `personas` live at once plus a candidate and a draining one.

    `on_cpu` says where it computes; None means whatever vLLM is installed here.

    Raises:
        EngineError: vLLM is not installed, or the maximum rank is more than it can do.
    """
    on_cpu = vllm_on_cpu() if on_cpu is None else on_cpu
    rank = next((r for r in RANKS if r >= settings.max_lora_rank), None)
    if rank is None:
        raise EngineError(f"UNDERSTUDY_MAX_LORA_RANK is {settings.max_lora_rank}; vLLM serves ranks up to {RANKS[-1]}")
    return EnginePlan(
        base=base,
        port=free_port(),
        slots=slots_for(settings, personas),
        max_rank=rank,
        max_model_len=settings.max_model_len or _context(base, on_cpu),
        memory_share=settings.gpu_memory_utilization or (0.3 if on_cpu else 0.9),
        on_cpu=on_cpu,
        dtype=serving_dtype(base, on_cpu=on_cpu) if settings.dtype == "auto" else settings.dtype,
        tool_call_parser=settings.tool_call_parser,
        cpu_lora=settings.cpu_lora,
        worker_process=settings.cpu_worker_process,
        threads=max(1, cores() - 1),  # one is for vLLM's server and the gateway
    )


def slots_for(settings: Settings, personas: int) -> int:
    """Slots for this many personas, up to `MOST_PERSONAS`, and the spare ones."""
    return settings.slots or max(8, min(personas, MOST_PERSONAS) + SPARE_SLOTS)


def engine_command(plan: EnginePlan) -> tuple[str, ...]:
    """The vLLM command line: a pure function of the plan."""
    command = [
        *(sys.executable, "-W", "ignore", "-m", ENGINE_MODULE),
        *("--model", plan.base.location),
        *("--served-model-name", BASE_NAME),
        *("--host", "127.0.0.1", "--port", str(plan.port)),
        *("--enable-lora", "--max-loras", str(plan.slots), "--max-cpu-loras", str(2 * plan.slots)),
        *("--max-lora-rank", str(plan.max_rank)),
        *("--dtype", plan.dtype),
        *("--gpu-memory-utilization", str(plan.memory_share)),
        *("--fingerprint-mode", "none"),
        *("--enable-auto-tool-choice", "--tool-call-parser", plan.tool_call_parser),
        *("--structured-outputs-config", '{"backend": "xgrammar", "disable_any_whitespace": true}'),
        "--disable-uvicorn-access-log",
    ]
    if not plan.base.local and (commit := base_revision(plan.base)):
        command += ["--revision", commit, "--tokenizer-revision", commit]
    if plan.max_model_len:
        command += ["--max-model-len", str(plan.max_model_len)]
    return tuple(command)


def engine_environment(plan: EnginePlan) -> dict[str, str]:
    """Variables that the engine needs on top of ours."""
    env = {"VLLM_ALLOW_RUNTIME_LORA_UPDATING": "1", "VLLM_NO_USAGE_STATS": "1", "VLLM_LOGGING_COLOR": "0"}
    # With it vLLM asks for a call of a tool in the model's own words, where white space has no end and a tool that is
    # not strict may be given a text; without it for JSON of the tool's schema.
    env["VLLM_ENFORCE_STRICT_TOOL_CALLING"] = "0"
    env["VLLM_LOGGING_LEVEL"] = "INFO"  # importing TRL sets it to ERROR for the whole process (trl/_compat.py)
    if plan.on_cpu:
        # The model itself is not compiled on a CPU; compiling the rest (log-probabilities) would stall the engine
        # for 15 s at its first use and gain nothing.
        env["TORCH_COMPILE_DISABLE"] = "1"
        env["UNDERSTUDY_CPU_LORA"] = "1" if plan.cpu_lora else "0"
        env |= {"VLLM_CPU_KVCACHE_SPACE": "1" if plan.base.shipped else "4", **QUIET_OPENMP}
    if plan.on_cpu and not plan.worker_process:
        # A scheduler that waits for a worker process spins on Python's lock: the tokens of a small model then arrive
        # all at once when the answer is over, and a second core only spins.
        env |= {"VLLM_ENABLE_V1_MULTIPROCESSING": "0", "OMP_NUM_THREADS": str(plan.threads)}
    if plan.base.local:
        env["HF_HUB_OFFLINE"] = "1"
    return env


class Engine:
    """One vLLM process: `start`, then `wait_ready`. Every call raises EngineError when it fails."""

    retries: tuple[float, ...] = ()
    """Pauses in seconds before a request without an answer is sent again; none for a single process."""

    misses = 5
    """Consecutive failed health checks after which the engine counts as dead."""

    def __init__(self, plan: EnginePlan, log: Path) -> None:
        self.plan = plan
        self.url = f"http://127.0.0.1:{plan.port}"
        self._log = log
        self._child: Child | None = None

    @property
    def alive(self) -> bool:
        """Whether the process runs; it may not be ready yet."""
        return self._child is not None and self._child.exit_code is None

    def resize(self, slots: int) -> None:
        """Sets the number of slots for the next start."""
        self.plan = self.plan.model_copy(update={"slots": slots})

    def start(self) -> None:
        """Starts the process and returns at once."""
        self._log.unlink(missing_ok=True)
        self._child = Child(engine_command(self.plan), log=self._log, env=engine_environment(self.plan))

    async def stop(self) -> None:
        """Ends the process and all that it started."""
        if self._child is not None:
            await asyncio.to_thread(self._child.stop)

    async def wait_ready(self, session: aiohttp.ClientSession, timeout: float) -> None:
        """Returns when the engine answers; raises EngineError with the end of its log when it does not."""
        deadline = asyncio.get_running_loop().time() + timeout
        while asyncio.get_running_loop().time() < deadline:
            if not self.alive:
                raise EngineError(f"vLLM ended while starting; the end of {self._log}:\n{self._tail()}")
            if await self.healthy(session):
                return
            await asyncio.sleep(0.2)
        await self.stop()
        raise EngineError(
            f"vLLM was not ready after {timeout:.0f} s (UNDERSTUDY_START_TIMEOUT); see {self._log}\n{self._tail()}"
        )

    async def healthy(self, session: aiohttp.ClientSession) -> bool:
        """Whether /health answers 200 within two seconds."""
        try:
            async with session.get(f"{self.url}/health", timeout=aiohttp.ClientTimeout(total=2)) as response:
                return response.status == 200
        except (aiohttp.ClientError, TimeoutError):
            return False

    async def load(self, session: aiohttp.ClientSession, name: str, folder: Path) -> None:
        """Loads the adapter in `folder` under `name`. Both must be new: vLLM caches by name and path."""
        await self._post(session, "/v1/load_lora_adapter", {"lora_name": name, "lora_path": str(folder)})

    async def unload(self, session: aiohttp.ClientSession, name: str) -> None:
        """Unloads `name`; its memory is freed when the slot is needed."""
        await self._post(session, "/v1/unload_lora_adapter", {"lora_name": name})

    async def complete(self, session: aiohttp.ClientSession, body: dict) -> dict:
        """Requests one chat completion, not streamed, directly from the engine."""
        return await self.post(session, "/v1/chat/completions", body)

    async def post(self, session: aiohttp.ClientSession, path: str, body: dict) -> dict:
        """Posts `body` and returns vLLM's answer."""
        return json.loads(await self._post(session, path, body))

    async def _post(self, session: aiohttp.ClientSession, path: str, body: dict) -> str:
        for pause in self.retries:
            try:
                return await self._try(session, path, body)
            except EngineError as error:
                if not error.passing:
                    raise
                log.warning("%s; asking again", error)
            await asyncio.sleep(pause)
        return await self._try(session, path, body)

    async def _try(self, session: aiohttp.ClientSession, path: str, body: dict) -> str:
        try:
            async with session.post(f"{self.url}{path}", json=body) as response:
                text = await response.text()
                if response.status != 200:
                    message = f"vLLM answered {response.status} to {path}: {_message(text)}"
                    raise EngineError(message, passing=response.status >= 500)
                return text
        except (aiohttp.ClientError, TimeoutError) as error:
            message = f"vLLM does not answer {path}: {error or type(error).__name__}"
            raise EngineError(message, passing=True) from error

    def _tail(self) -> str:
        return self._child.log_tail() if self._child else ""


def installed_vllm() -> tuple[str, str] | None:
    """Distribution and version of the installed vLLM, or None if there is none."""
    for name in ("vllm-cpu", "vllm"):
        try:
            return name, importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return None


def vllm_on_cpu() -> bool:
    """Whether the installed vLLM computes on a CPU. Raises EngineError where none is installed."""
    found = installed_vllm()
    if found is None:
        raise EngineError("vLLM is not installed; run ./setup.sh, or install understudy[cpu] or understudy[gpu]")
    return found[0] == "vllm-cpu"


def cores() -> int:
    """Processor cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _context(base: Base, on_cpu: bool) -> int:
    trained = read_model_config(base).get("max_position_embeddings", 0)
    return min(trained, CPU_CONTEXT) if on_cpu and trained else 0


def _message(text: str) -> str:
    try:
        return json.loads(text)["error"]["message"]
    except (ValueError, KeyError, TypeError):
        return text[:300]
