"""What programs can call: `gradio_client`, and MCP clients where the environment has a server for them."""

from importlib.metadata import PackageNotFoundError, version
from typing import Any

import gradio as gr
from gradio.events import api

from space.banner import Backend
from space.chat import HOTTEST, LONGEST, MAX_CHARACTERS
from space.gateway_client import GatewayClient, pseudonym
from understudy.errors import GatewayError


def add_endpoints(gateway: GatewayClient, backend: Backend) -> None:
    """The endpoints `/chat` and `/personas`; to be called inside the page's Blocks."""

    async def chat(
        message: str,
        persona: str = "base",
        temperature: float = -1,
        max_tokens: int = 0,
        request: gr.Request = None,  # type: ignore
    ) -> str:
        """Asks a persona, or the base model, one question and returns the whole answer.

        Args:
            message: The question.
            persona: A name from /personas, for instance "email-copy"; "base" is the model without any adapter.
            temperature: 0 to 2; below 0 means what suits the persona.
            max_tokens: Longest answer, up to 1024; 0 means what suits the persona.
        """
        if not message.strip():
            raise gr.Error("message: nothing was asked", print_exception=False)
        snapshot = await backend.look(at_once=True)
        known = {one.name for one in snapshot.contestants}
        if persona not in known:
            raise gr.Error(
                f"persona {persona!r} is not known; known: {', '.join(sorted(known))}", print_exception=False
            )
        sampling = snapshot.find(persona).sampling
        hot = min(temperature, HOTTEST) if temperature >= 0 else sampling.temperature
        long = min(max_tokens, LONGEST) if max_tokens > 0 else sampling.max_tokens
        turns = [{"role": "user", "content": message.strip()[:MAX_CHARACTERS]}]
        user = pseudonym((request and request.session_hash) or "")
        try:
            pieces = gateway.stream(persona, turns, temperature=hot, max_tokens=long, user=user)
            return "".join([piece.text async for piece in pieces])
        except GatewayError as error:
            raise gr.Error(str(error), print_exception=False) from error

    async def personas() -> list[dict[str, Any]]:
        """Lists who can be asked: name, title, voice and live revision of each persona, and the base model."""
        fields = {"name", "kind", "title", "voice", "revision", "examples"}
        return [one.model_dump(include=fields) for one in (await backend.look()).contestants]

    api(chat, api_name="chat")
    api(personas, api_name="personas")


def mcp_works() -> bool:
    """Whether Gradio's MCP server can start here: it needs mcp 1, and vLLM, in one environment with us, mcp 2."""
    try:
        return int(version("mcp").split(".")[0]) < 2
    except PackageNotFoundError:
        return False
