"""Whole engines on a CPU, with our plugin and with vLLM's own way: the tiny base, and a random 0.5B-shaped one."""

import asyncio
import statistics
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import aiohttp
import numpy as np

from bench.serving.adapters import random_adapter
from bench.serving.load import load
from serve.engine.adapter_engine import BASE_NAME
from serve.engine.vllm import Engine, plan_engine
from understudy.bases import TINY_DIR, Base, resolve_base
from understudy.config.settings import load_settings

MAX_RANK = 64
NAMES = [f"adapter-{number}" for number in range(6)]
MIXES = {"base": [BASE_NAME], "one": NAMES[:1], "six": NAMES}
PROMPT = "Write about a kettle for the weekend."
PROMPT_TOKENS = 512
SHAPE: dict[str, Any] = {
    "hidden_size": 896,
    "num_hidden_layers": 24,
    "num_attention_heads": 14,
    "num_key_value_heads": 2,
    "head_dim": 64,
    "intermediate_size": 4864,
}
"""Of Qwen2.5-0.5B (https://huggingface.co/Qwen/Qwen2.5-0.5B, config.json), with the tiny base's vocabulary."""


def tiny_engine(plugin: bool, rounds: int, tokens: int) -> dict[str, Any]:
    """Tokens per second of 16 chats at once on each mix, and greedy answers to compare."""
    with tempfile.TemporaryDirectory() as home:
        return asyncio.run(_tiny(Path(home), plugin, rounds, tokens))


def half_billion_engine(plugin: bool, rounds: int) -> dict[str, Any]:
    """Prompt tokens per second of prompts of 512 tokens, one at a time; vLLM's own way gets one prompt an adapter."""
    with tempfile.TemporaryDirectory() as home:
        base = random_model(Path(home) / "model")
        return asyncio.run(_half_billion(Path(home), base, plugin, rounds))


def random_model(folder: Path) -> Base:
    """Writes a random Llama of `SHAPE` in bfloat16 with the tiny base's tokenizer."""
    import torch
    from transformers import AutoTokenizer, LlamaConfig, LlamaForCausalLM
    from transformers.utils.logging import disable_progress_bar

    tokenizer = AutoTokenizer.from_pretrained(TINY_DIR)
    torch.manual_seed(0)
    config = LlamaConfig(
        **SHAPE, vocab_size=len(tokenizer), max_position_embeddings=4096, tie_word_embeddings=True, dtype="bfloat16"
    )
    disable_progress_bar()
    torch.set_default_dtype(torch.bfloat16)
    try:
        LlamaForCausalLM(config).save_pretrained(folder)
    finally:
        torch.set_default_dtype(torch.float32)
    tokenizer.save_pretrained(folder)
    return resolve_base(str(folder))


class _Running:
    """An engine with six random adapters loaded, as an async context."""

    def __init__(self, home: Path, base: Base, plugin: bool) -> None:
        settings = load_settings(home=home, cpu_lora=plugin, max_lora_rank=MAX_RANK, max_model_len=1024)
        self.home, self.base = home, base
        self.engine = Engine(plan_engine(settings, base, len(NAMES)), home / "engine.log")

    async def __aenter__(self) -> tuple[Engine, aiohttp.ClientSession]:
        self.engine.start()
        self.session = aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=900))
        try:
            await self.engine.wait_ready(self.session, timeout=300)
            for number, name in enumerate(NAMES):
                adapter = random_adapter(self.home / name, seed=number, base=self.base)
                await self.engine.load(self.session, name, adapter)
        except BaseException:
            await self.__aexit__()
            raise
        return self.engine, self.session

    async def __aexit__(self, *_: object) -> None:
        await self.session.close()
        await self.engine.stop()


async def _tiny(home: Path, plugin: bool, rounds: int, tokens: int) -> dict[str, Any]:
    async with _Running(home, resolve_base("tiny"), plugin) as (engine, session):
        answers = [await _greedy(engine, session, name) for name in (BASE_NAME, *NAMES)]
        speeds: dict[str, list[float]] = {mix: [] for mix in MIXES}
        for number in range(-1, rounds):
            for mix, models in MIXES.items():
                speed = await _chats(engine.url, models, tokens)
                if number >= 0:  # the first round warms up
                    speeds[mix].append(speed)
    return {"plugin": plugin, **_medians(speeds), "answers": answers}


async def _half_billion(home: Path, base: Base, plugin: bool, rounds: int) -> dict[str, Any]:
    async with _Running(home, base, plugin) as (engine, session):
        await _prompt(engine, session, BASE_NAME, seed=0)
        speeds: dict[str, list[float]] = {mix: [] for mix in MIXES}
        for number in range(rounds if plugin else 1):
            for mix, models in MIXES.items():
                if mix == "six" and not plugin:
                    continue  # six prompts of minutes each would say what one says
                seconds = [await _prompt(engine, session, name, seed=1 + number) for name in models]
                speeds[mix].append(len(models) * PROMPT_TOKENS / sum(seconds))
    return {"plugin": plugin, **_medians(speeds)}


def _medians(speeds: dict[str, list[float]]) -> dict[str, Any]:
    medians = {mix: round(statistics.median(values), 1) if values else None for mix, values in speeds.items()}
    ratios = {
        f"{mix}_over_base": round(statistics.median(a / b for a, b in zip(values, speeds["base"], strict=True)), 3)
        for mix, values in speeds.items()
        if mix != "base" and values
    }
    return {**medians, **ratios}


async def _greedy(engine: Engine, session: aiohttp.ClientSession, name: str) -> str:
    message = {"role": "user", "content": PROMPT}
    answer = await engine.complete(
        session, {"model": name, "messages": [message], "max_tokens": 48, "temperature": 0.0}
    )
    return answer["choices"][0]["message"]["content"]


async def _prompt(engine: Engine, session: aiohttp.ClientSession, name: str, *, seed: int) -> float:
    """Seconds of one prompt of 512 tokens that no cache knows, and its first answer token."""
    tokens = np.random.default_rng([seed, *name.encode()]).integers(10, 1000, PROMPT_TOKENS).tolist()
    body = {"model": name, "prompt": tokens, "max_tokens": 1, "temperature": 0.0, "ignore_eos": True}
    started = time.perf_counter()
    async with session.post(f"{engine.url}/v1/completions", json=body) as response:
        answer = await response.json()
        if response.status != 200 or answer["usage"]["prompt_tokens"] != PROMPT_TOKENS:
            raise SystemExit(f"the engine answered {response.status}: {answer}")
    return time.perf_counter() - started


async def _chats(url: str, models: Sequence[str], tokens: int) -> float:
    """Tokens per second of 16 chats at once, shared among the models; each chat is followed by another."""
    shares = [len(range(number, 16, len(models))) for number in range(len(models))]
    started = time.perf_counter()
    figures = await asyncio.gather(
        *(
            load(url, model, concurrency=share, requests=2 * share, tokens=tokens)
            for model, share in zip(models, shares, strict=True)
        )
    )
    if any(each.failures for each in figures):
        raise SystemExit("the engine refused requests")
    return 2 * sum(shares) * tokens / (time.perf_counter() - started)
