"""The running gateway's engine: evaluations send their requests through the admin routes, behind users' requests."""

from typing import Any

import httpx

from understudy.bases import Base, base_revision
from understudy.config.settings import Settings
from understudy.errors import EngineError, GatewayError

OPERATIONS = {"/tokenize": "tokenize", "/v1/chat/completions": "chat", "/v1/completions": "completions"}
"""The gateway's evaluation route for each path of vLLM's API."""
LOADING = 300.0
"""Seconds in which the gateway must have loaded an adapter: the engine may be in the middle of users' answers."""
SECONDS = 60.0
"""The same of unloading. Only answers may take for ever: users' requests go first."""
CONNECT = 2.0


class GatewayEngine:
    """One evaluation on a gateway; `load` begins it, `unload` ends it."""

    def __init__(self, settings: Settings) -> None:
        headers = {"Authorization": f"Bearer {settings.admin_secret}"}
        limits = httpx.Limits(max_connections=None)
        self._client = httpx.AsyncClient(base_url=settings.gateway, headers=headers, limits=limits, trust_env=False)

    async def load(self, base: Base, persona: str, revision: str) -> str:
        """Loads a revision that the gateway's registry has; returns its model name.

        Raises:
            GatewayError: the gateway cannot be reached, or refuses the revision; the message says why.
        """
        body = {"persona": persona, "revision": revision, "base": base.name, "base_revision": base_revision(base) or ""}
        try:
            return (await self._send("POST", "", body, seconds=LOADING))["model"]
        except EngineError as error:
            raise GatewayError(str(error)) from error

    async def post(self, path: str, body: dict[str, Any]) -> dict[str, Any]:
        """Returns the engine's response to `body` at a path of vLLM's API. Raises EngineError."""
        return await self._send("POST", f"/{OPERATIONS[path]}", body)

    async def unload(self) -> None:
        """Ends the evaluation; does not fail when the gateway is gone."""
        try:
            await self._send("DELETE", "", None, seconds=SECONDS)
        except EngineError:
            pass  # the next evaluation unloads one that was left behind
        finally:
            await self.close()

    async def close(self) -> None:
        """Closes the connections."""
        await self._client.aclose()

    async def _send(
        self, method: str, path: str, body: dict[str, Any] | None, *, seconds: float | None = None
    ) -> dict[str, Any]:
        """Waits for the answer for at most `seconds`; None waits as long as it takes."""
        timeout = httpx.Timeout(SECONDS, connect=CONNECT, read=seconds)
        try:
            response = await self._client.request(method, f"/admin/evaluation{path}", json=body, timeout=timeout)
        except httpx.ReadTimeout:
            raise EngineError(
                f"the gateway at {self._client.base_url} has not answered for {seconds:g} s; see its log, restart it, "
                "or use --engine own"
            ) from None
        except httpx.TransportError as error:
            raise EngineError(f"no gateway at {self._client.base_url} ({error or type(error).__name__})") from None
        if response.is_success:
            return response.json()
        try:
            message = response.json()["error"]["message"]
        except (ValueError, KeyError, TypeError):
            message = response.text[:200]
        raise EngineError(f"the gateway answered {response.status_code}: {message}")
