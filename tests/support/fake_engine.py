"""A small stand-in for vLLM: it knows which adapters are loaded and answers in their name.

Used where a real engine would be too slow or too well-behaved: races, broken answers, answers that wait.
"""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp
from aiohttp import web

from serve.engine.vllm import Engine, EnginePlan
from understudy.bases import resolve_base

USAGE = '"usage":{"prompt_tokens":7,"total_tokens":10,"completion_tokens":3}'


class FakeEngine(Engine):
    """An Engine whose process is a coroutine; `misbehave` names the way in which it fails."""

    def __init__(self) -> None:
        plan = EnginePlan(
            base=resolve_base("tiny"), port=0, slots=8, max_rank=64, max_model_len=0, memory_share=0.3, on_cpu=True
        )
        super().__init__(plan, Path("unused.log"))
        self.loaded: dict[str, str] = {"base": ""}
        self.asked: list[str] = []
        self.unloaded: list[str] = []
        self.misbehave = ""
        self.hold = asyncio.Event()
        """Streams wait for it after their first event."""
        self.hold.set()
        self.load_gate = asyncio.Event()
        self.load_gate.set()
        self.running = 0

    @asynccontextmanager
    async def serving(self) -> AsyncIterator[aiohttp.ClientSession]:
        """Listens on a free port of loopback; yields a client session."""
        app = web.Application()
        app.router.add_post("/v1/chat/completions", self._chat)
        app.router.add_post("/v1/load_lora_adapter", self._load)
        app.router.add_post("/v1/unload_lora_adapter", self._unload)
        app.router.add_get("/health", self._health)
        runner = web.AppRunner(app, handler_cancellation=True)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        self.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
        try:
            async with aiohttp.ClientSession() as session:
                yield session
        finally:
            self.hold.set()
            await runner.cleanup()

    async def _health(self, request: web.Request) -> web.Response:
        return web.Response(status=503 if self.misbehave == "500" else 200)

    async def _load(self, request: web.Request) -> web.Response:
        body = await request.json()
        await self.load_gate.wait()
        if self.misbehave == "refuse load":
            return web.json_response({"error": {"message": "no room"}}, status=400)
        assert body["lora_name"] not in self.loaded, "a name was used twice"
        self.loaded[body["lora_name"]] = body["lora_path"]
        return web.Response(text="ok")

    async def _unload(self, request: web.Request) -> web.Response:
        name = (await request.json())["lora_name"]
        self.loaded.pop(name)
        self.unloaded.append(name)
        return web.Response(text="ok")

    async def _chat(self, request: web.Request) -> web.StreamResponse:
        body = await request.json()
        model = body["model"]
        self.asked.append(model)
        if model not in self.loaded:
            return web.json_response({"error": {"message": f"no model {model}"}}, status=404)
        if self.misbehave == "500":
            return web.json_response({"error": {"message": "EngineDeadError"}}, status=500)
        if body.get("stream"):
            wants_usage = bool((body.get("stream_options") or {}).get("include_usage"))
            return await self._stream(request, model, wants_usage)
        voice = "base" if self.misbehave == "act like the base" else model
        choice = {
            "message": {"role": "assistant", "content": f"{voice} heard: {body['messages'][-1]['content']}"},
            "finish_reason": "stop",
            "logprobs": {"content": [{"logprob": -len(voice) / 10}]},
        }
        usage = (
            USAGE.replace('"completion_tokens":3', '"completion_tokens":0')
            if self.misbehave == "say nothing"
            else USAGE
        )
        document = f'{{"id":"1","model":"{model}","system_fingerprint":null,"choices":[{json.dumps(choice)}],{usage}}}'
        return web.Response(text=document, content_type="application/json")

    async def _stream(self, request: web.Request, model: str, wants_usage: bool) -> web.StreamResponse:
        response = web.StreamResponse(headers={"content-type": "text/event-stream"})
        await response.prepare(request)
        self.running += 1
        try:
            for word in ("one", "two", "three"):
                event = f'data: {{"model":"{model}","choices":[{{"delta":{{"content":"{word}"}}}}]}}\n\n'.encode()
                half = len(event) // 2  # events arrive in pieces
                await response.write(event[:half])
                await asyncio.sleep(0)
                await response.write(event[half:])
                await self.hold.wait()
                if self.misbehave == "die mid-answer":
                    assert request.transport
                    request.transport.abort()
                    return response
                if self.misbehave == "fail mid-answer":
                    await response.write(b'data: {"error":{"message":"no"}}\n\ndata: [DONE]\n\n')
                    return response
            if wants_usage:
                await response.write(f'data: {{"model":"{model}","choices":[],{USAGE}}}\n\n'.encode())
            await response.write(b"data: [DONE]\n\n")
        finally:
            self.running -= 1
        return response
