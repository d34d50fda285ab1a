"""One replica: Ray's LLMServer around one vLLM, with adapters by their immutable names from our store."""

import asyncio
import os
import subprocess
from collections.abc import AsyncGenerator
from typing import Any

import ray
from ray import serve
from ray.exceptions import RayError
from ray.llm._internal.common.callbacks.base import CallbackBase
from ray.llm._internal.common.models import global_id_manager
from ray.llm._internal.serve.core.configs.llm_config import DiskMultiplexConfig
from ray.llm._internal.serve.utils.lora_serve_utils import LoraModelLoader
from ray.serve.exceptions import RayServeException
from ray.serve.llm import LLMConfig, LLMServer
from understudy_privacy import listen_privately

from serve.hub_sync.adapter_cache import AdapterFolders
from understudy.config.settings import load_settings
from understudy.errors import UnderstudyError

LOOK = 10.0
"""Seconds that the other replicas get to say what they have; no hurry, they answer everybody meanwhile."""


class StoreLoader(LoraModelLoader):
    """Finds adapters in the shared store instead of a bucket."""

    def __init__(self, *args: Any, **more: Any) -> None:
        super().__init__(*args, **more)
        self._folders = AdapterFolders(load_settings())

    async def load_model_from_config(self, lora_model_id: str, llm_config: LLMConfig) -> DiskMultiplexConfig:
        """Where the adapter of that immutable name is. Raises NotFoundError and AdapterError."""
        folder = await asyncio.to_thread(self._folders.find, lora_model_id)
        number = global_id_manager.next()
        return DiskMultiplexConfig(
            model_id=lora_model_id, max_total_tokens=None, local_path=str(folder), lora_assigned_int_id=number
        )


class Replica(LLMServer):
    """One vLLM. It loads an adapter when it is told to, or else when somebody asks for it."""

    async def __init__(self, llm_config: LLMConfig, **more: Any) -> None:
        self._asked = 0
        listen_privately()
        self._guard = end_group_with_us()
        in_process = os.environ.get("VLLM_ENABLE_V1_MULTIPROCESSING") == "0"
        engine_cls = one_process_engine() if in_process else None
        await super().__init__(llm_config, model_downloader=StoreLoader, engine_cls=engine_cls, **more)
        await self._learn()

    async def chat(self, request: Any, raw_request_info: Any = None) -> AsyncGenerator[Any, None]:
        """As vLLM's, and counted."""
        self._asked += 1
        return await super().chat(request, raw_request_info)

    async def completions(self, request: Any, raw_request_info: Any = None) -> AsyncGenerator[Any, None]:
        """As vLLM's, and counted."""
        self._asked += 1
        return await super().completions(request, raw_request_info)

    async def load(self, name: str) -> dict[str, Any]:
        """Loads an adapter; see `report`. `error` says why it could not."""
        try:
            await self.engine.resolve_lora(await self._load_model(name))
        except (UnderstudyError, ValueError) as error:
            return await self.report() | {"error": str(error)}
        return await self.report()

    async def unload(self, name: str) -> dict[str, Any]:
        """Forgets an adapter, if it is there."""
        from vllm.entrypoints.serve.lora.protocol import UnloadLoRAAdapterRequest

        if name in self.engine._oai_models.lora_requests:
            await self.engine._oai_models.unload_lora_adapter(UnloadLoRAAdapterRequest(lora_name=name))
        return await self.report()

    async def report(self) -> dict[str, Any]:
        """Who this is, how often it was asked, and which adapters its vLLM has."""
        return {
            "replica": serve.get_replica_context().replica_id.unique_id,
            "node": ray.get_runtime_context().get_node_id(),
            "pid": os.getpid(),
            "asked": self._asked,
            "adapters": sorted(self.engine._oai_models.lora_requests),
        }

    async def _learn(self) -> None:
        """A replica that joins loads what the others have before it takes requests.

        The first of all have nobody to ask, and whatever is missing here is loaded when it is asked for.
        """
        context = serve.get_replica_context()
        others = serve.get_deployment_handle(context.deployment, context.app_name)
        try:
            reports = await others.broadcast("report").results_async(timeout_s=LOOK, return_exceptions=True)
        except (RayServeException, RayError, TimeoutError):
            return
        for name in {name for report in reports if isinstance(report, dict) for name in report["adapters"]}:
            await self.load(name)


class BaseIsHere(CallbackBase):
    """Spares the tasks that download the base, each of which imports all of vLLM and keeps it for minutes."""

    async def on_before_node_init(self) -> None:
        self.ctx.run_init_node = False


def one_process_engine() -> type:
    """Ray's vLLM, computing in the replica itself, as `serve.engine.vllm` on a CPU, without Ray's worker process."""
    from ray.llm._internal.serve.engines.vllm.vllm_engine import VLLMEngine

    class OneProcess(VLLMEngine):
        def _start_async_llm_engine(self, vllm_engine_args: Any, vllm_engine_config: Any, placement_group: Any) -> Any:
            vllm_engine_config.parallel_config.distributed_executor_backend = "uni"
            return super()._start_async_llm_engine(vllm_engine_args, vllm_engine_config, placement_group)

    return OneProcess


def end_group_with_us() -> subprocess.Popen[bytes] | None:
    """Ends this process's group when it dies, however it dies: a killed replica's vLLM would keep all the memory.

    Ray gives each of its workers a group of its own.
    """
    if os.getpgrp() != os.getpid():
        return None
    waits = f"cat >/dev/null; kill -KILL -{os.getpid()}"
    return subprocess.Popen(["/bin/sh", "-c", waits], stdin=subprocess.PIPE, start_new_session=True)
