"""The engines on Ray Serve: replicas that know adapters by their immutable names, behind one address.

    deploy/ray/run.sh deploy/ray/serve_config.yaml

What it answers is vLLM's own HTTP, so the gateway needs nothing but its address (`UNDERSTUDY_ENGINE_URL`):

    POST /v1/chat/completions, /v1/completions   `model` is `base` or `persona@revision`
    POST /v1/load_lora_adapter                   200 when *every* running replica has it
    POST /v1/unload_lora_adapter
    GET  /v1/models, /replicas, /health

Nothing here is a gateway: no keys, no limits. It listens on loopback, or where only the gateway can reach it.
"""

import os
import re
from typing import Any

from pydantic import BaseModel, ConfigDict, Field
from ray import serve
from ray.llm._internal.common.callbacks.base import CallbackConfig
from ray.llm._internal.serve.core.configs.openai_api_models import to_model_metadata
from ray.serve.deployment import Application
from ray.serve.llm import LLMConfig, LoraConfig, ModelLoadingConfig, build_llm_deployment
from ray.serve.llm.ingress import make_fastapi_ingress
from understudy_ingress import ROUTES, Ingress
from understudy_replica import BaseIsHere, Replica

from serve.engine.adapter_engine import BASE_NAME
from serve.engine.vllm import EnginePlan, engine_environment, plan_engine
from understudy.bases import base_revision, resolve_base
from understudy.config.settings import Settings, load_settings

PASSED_ON = re.compile(r"UNDERSTUDY_|HF_|OMP_|GOMP_|VLLM_|PYTHONPATH$")
"""Variables of the one who starts the application that its replicas get, too, on whichever machine they run."""

KEPT = re.compile(r"KEY|SECRET|TOKEN|PASSWORD|DATABASE_URL")
"""But not these: Ray writes the others to its logs. A replica finds them in its machine's own environment."""


class Plan(BaseModel):
    """The `args` of serve_config.yaml: how many replicas, and how large. The engine itself is set by UNDERSTUDY_*."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    min_replicas: int = Field(default=1, ge=0)
    max_replicas: int = Field(default=1, ge=1)
    target_ongoing_requests: float = Field(default=16, gt=0)
    """Answers in progress that one replica should have; more begin another replica."""
    max_ongoing_requests: int = Field(default=64, ge=1)
    """Answers in progress that one replica may have; more wait."""
    upscale_delay_s: float = 30
    downscale_delay_s: float = 600
    cpus: float = 1
    """Of each replica; for Ray's book-keeping, and on a CPU also vLLM's threads."""
    gpus: int = 0
    """Of each replica; more than one means tensor parallelism."""
    adapters: int = Field(default=0, ge=0)
    """That each replica keeps in memory; 0 means twice its slots."""
    ingresses: int = Field(default=1, ge=1)
    """Processes that take requests in."""


def build(args: dict[str, Any]) -> Application:
    """The application, from the `args` of serve_config.yaml and UNDERSTUDY_*; what `import_path` names."""
    settings, wanted = load_settings(), Plan.model_validate(args)
    plan = plan_engine(settings, resolve_base(settings.base), personas=0, on_cpu=not wanted.gpus)
    config = engine_config(settings, plan, wanted)
    ingress = serve.deployment(
        make_fastapi_ingress(Ingress, endpoint_map=ROUTES),
        name="ingress",
        num_replicas=wanted.ingresses,
        max_ongoing_requests=10_000,  # the gateway limits them
        ray_actor_options={"num_cpus": 0, "runtime_env": {"env_vars": _environment()}},
    )
    return ingress.bind(
        llm_deployments={BASE_NAME: build_llm_deployment(config, name_prefix="engine:", deployment_cls=Replica)},
        model_cards={BASE_NAME: to_model_metadata(BASE_NAME, config)},
    )


def engine_config(settings: Settings, plan: EnginePlan, wanted: Plan) -> LLMConfig:
    """Ray's description of one replica: the engine that `understudy serve` would start."""
    environment = _environment() | engine_environment(plan)
    if plan.on_cpu:
        # Replicas share a machine's cores: none may bind itself to them, or count on all.
        environment |= {"VLLM_CPU_OMP_THREADS_BIND": "nobind", "OMP_NUM_THREADS": str(max(1, int(wanted.cpus)))}
        environment["VLLM_CPU_NUM_OF_RESERVED_CPU"] = "0"
    kinds = {"CPU": wanted.cpus} if plan.on_cpu else {"CPU": wanted.cpus / wanted.gpus, "GPU": 1}
    return LLMConfig(
        model_loading_config=ModelLoadingConfig(model_id=BASE_NAME, model_source=plan.base.location),
        engine_kwargs=_engine_arguments(settings, plan)
        | ({"tensor_parallel_size": wanted.gpus} if wanted.gpus else {}),
        lora_config=LoraConfig(max_num_adapters_per_replica=wanted.adapters or 2 * plan.slots),
        accelerator_config={"kind": "cpu" if plan.on_cpu else "gpu"},
        placement_group_config={"bundles": [kinds] * max(1, wanted.gpus)},
        deployment_config={
            "max_ongoing_requests": wanted.max_ongoing_requests,
            "autoscaling_config": {
                "min_replicas": wanted.min_replicas,
                "initial_replicas": wanted.min_replicas,
                "max_replicas": max(wanted.min_replicas, wanted.max_replicas),
                "target_ongoing_requests": wanted.target_ongoing_requests,
                "upscale_delay_s": wanted.upscale_delay_s,
                "downscale_delay_s": wanted.downscale_delay_s,
            },
            "health_check_period_s": 2,
            "health_check_timeout_s": 30,
            "graceful_shutdown_timeout_s": settings.drain_timeout,
            "ray_actor_options": {"num_cpus": 0},
        },
        runtime_env={"env_vars": environment},
        callback_config=CallbackConfig(BaseIsHere) if plan.base.local else CallbackConfig(),
        log_engine_metrics=False,
        experimental_configs={"stream_batching_interval_ms": 10},
    )


def _engine_arguments(settings: Settings, plan: EnginePlan) -> dict[str, Any]:
    """As `serve.engine.vllm.engine_command`, in vLLM's Python names."""
    arguments: dict[str, Any] = {
        "enable_lora": True,
        "max_loras": plan.slots,
        "max_cpu_loras": 2 * plan.slots,
        "max_lora_rank": plan.max_rank,
        "dtype": plan.dtype,
        "gpu_memory_utilization": plan.memory_share,
        "fingerprint_mode": "none",
        "enable_auto_tool_choice": True,
        "tool_call_parser": plan.tool_call_parser,
    }
    if plan.max_model_len:
        arguments["max_model_len"] = plan.max_model_len
    if not plan.base.local and (commit := base_revision(plan.base)):
        arguments |= {"revision": commit, "tokenizer_revision": commit}
    return arguments


def _environment() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if PASSED_ON.match(name) and not KEPT.search(name)}
