"""Admin calls to the running gateway."""

from typing import Any

import httpx

from understudy.config.settings import Settings
from understudy.errors import GatewayError, PublishError

TIMEOUT = 300.0
"""Seconds; a publish of a large adapter loads and probes before it answers."""


class AdminClient:
    """Publish and rollback over HTTP, with the keys of these settings."""

    def __init__(self, settings: Settings) -> None:
        self._url = settings.gateway
        self._admin_key = settings.admin_secret
        self._api_key = settings.api_key.get_secret_value() if settings.api_key else "none"

    def publish(self, persona: str, revision: str, actor: str, *, share: float = 1.0) -> dict[str, Any]:
        """Raises PublishError when the revision is refused, GatewayError when the gateway cannot be asked."""
        body = {"persona": persona, "revision": revision, "actor": actor, "share": share}
        return self._send("POST", "/admin/publish", body)

    def rollback(self, persona: str, revision: str, actor: str) -> dict[str, Any]:
        """Raises as `publish`."""
        return self._send("POST", "/admin/rollback", {"persona": persona, "revision": revision, "actor": actor})

    def promote(self, persona: str, actor: str, *, reason: str = "asked for") -> dict[str, Any]:
        """Raises as `publish`."""
        return self._send("POST", "/admin/promote", {"persona": persona, "actor": actor, "reason": reason})

    def hold(self, persona: str) -> dict[str, Any]:
        """Lets only `promote` end the trial well from now on. Raises as `publish`."""
        return self._send("POST", "/admin/promote", {"persona": persona, "when": "better"})

    def learning(self, persona: str, *, title: str, state: str, percent: int = 0, reason: str = "") -> None:
        """Tells everybody how a persona that is not live yet gets on. Raises GatewayError."""
        body = {"title": title[:100] or persona, "state": state, "percent": percent, "reason": reason[:500]}
        self._send("PUT", f"/admin/learning/{persona}", body)

    def live_personas(self) -> list[str]:
        """The personas on stage. Raises GatewayError."""
        models = self._send("GET", "/v1/models", None)["data"]
        return [m["id"] for m in models if m["understudy"]["kind"] == "persona"]

    def _send(self, method: str, path: str, body: dict[str, Any] | None) -> dict[str, Any]:
        key = self._admin_key if path.startswith("/admin") else self._api_key
        headers = {"Authorization": f"Bearer {key}"}
        try:
            response = httpx.request(method, f"{self._url}{path}", json=body, headers=headers, timeout=TIMEOUT)
        except httpx.TransportError as error:
            reason = str(error) or type(error).__name__
            raise GatewayError(f"no gateway at {self._url} ({reason}); start one with `understudy serve`") from None
        if response.is_success:
            return response.json()
        try:
            error = response.json()["error"]
        except (ValueError, KeyError):
            raise GatewayError(f"{self._url}{path} answered {response.status_code}: {response.text[:200]}") from None
        if response.status_code == 409:
            raise PublishError(error["message"], error.get("reasons"))
        raise GatewayError(error["message"])
