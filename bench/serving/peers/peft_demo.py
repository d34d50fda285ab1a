"""The usual Gradio demo without its page: transformers and PEFT, all adapters in one model, one answer at a time.

A lock is what Gradio's queue is by default (`default_concurrency_limit` 1). Answers leave as an OpenAI stream, so that
this demo is asked as the other servers are; what Gradio's page costs is not counted, to its favour.

    python -m bench.serving.peers.peft_demo --base FOLDER --port 8000 NAME=FOLDER ...
"""

import argparse
import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from typing import Any

import torch
import uvicorn
from fastapi import FastAPI
from fastapi.responses import StreamingResponse
from peft import PeftModel
from transformers import AsyncTextIteratorStreamer, AutoModelForCausalLM, AutoTokenizer


class Demo:
    """A base with its adapters, for one visitor at a time."""

    def __init__(self, base: str, adapters: dict[str, str], dtype: str = "auto") -> None:
        self._tokenizer = AutoTokenizer.from_pretrained(base)
        self._model: Any = AutoModelForCausalLM.from_pretrained(base, dtype=dtype).eval()
        for name, folder in adapters.items():
            if isinstance(self._model, PeftModel):
                self._model.load_adapter(folder, adapter_name=name)
            else:
                self._model = PeftModel.from_pretrained(self._model, folder, adapter_name=name)
        self._lock = asyncio.Lock()

    async def answer(self, body: dict[str, Any]) -> AsyncIterator[str]:
        """The lines of a stream; without `ignore_eos` the answer ends where the model ends it."""
        async with self._lock:
            streamer = AsyncTextIteratorStreamer(self._tokenizer, skip_prompt=True, skip_special_tokens=True)
            with self._voice(body["model"]):
                work = asyncio.create_task(asyncio.to_thread(self._generate, body, streamer))
                async for text in streamer:
                    yield _line({"index": 0, "delta": {"content": text}, "finish_reason": None})
                produced = await work
        reason = "length" if produced >= body["max_tokens"] else "stop"
        yield _line({"index": 0, "delta": {}, "finish_reason": reason})
        yield "data: [DONE]\n\n"

    def _generate(self, body: dict[str, Any], streamer: AsyncTextIteratorStreamer) -> int:
        inputs = self._tokenizer.apply_chat_template(
            body["messages"], add_generation_prompt=True, return_tensors="pt", return_dict=True
        )
        options = {"eos_token_id": -1} if body.get("ignore_eos") else {}
        with torch.inference_mode():
            tokens = self._model.generate(
                **inputs, streamer=streamer, max_new_tokens=body["max_tokens"], do_sample=False, **options
            )
        return tokens.shape[1] - inputs["input_ids"].shape[1]

    def _voice(self, name: str) -> contextlib.AbstractContextManager[Any]:
        if not isinstance(self._model, PeftModel):
            return contextlib.nullcontext()
        if name == "base":
            return self._model.disable_adapter()
        self._model.set_adapter(name)
        return contextlib.nullcontext()


def _line(choice: dict[str, Any]) -> str:
    return f"data: {json.dumps({'choices': [choice]}, separators=(',', ':'))}\n\n"


def build(demo: Demo) -> FastAPI:
    """The two routes."""
    app = FastAPI()

    @app.get("/health")
    async def health() -> dict[str, str]:
        return {"status": "ok"}

    @app.post("/v1/chat/completions")
    async def chat(body: dict[str, Any]) -> StreamingResponse:
        return StreamingResponse(demo.answer(body), media_type="text/event-stream")

    return app


def main() -> None:
    """Serves until killed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--base", required=True)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("adapters", nargs="*", metavar="NAME=FOLDER")
    arguments = parser.parse_args()
    adapters = dict(pair.split("=", 1) for pair in arguments.adapters)
    demo = Demo(arguments.base, adapters)
    uvicorn.run(build(demo), host="127.0.0.1", port=arguments.port, log_level="warning")


if __name__ == "__main__":
    main()
