"""The gateway's HTTP client for the command line: admin calls, the list of models, and a streamed answer."""

from collections.abc import Iterator
from typing import Any

import httpx
from pydantic import BaseModel, ConfigDict

from understudy.config.settings import Settings
from understudy.errors import GatewayError, PublishError

TIMEOUT = 300.0
"""Seconds; publishing a large adapter loads and probes it before the gateway answers."""


class RevisionChange(BaseModel):
    """What the gateway answers to publish, promote and rollback."""

    model_config = ConfigDict(frozen=True)

    persona: str
    revision: str
    previous: str | None = None
    """The revision that was live before."""
    share: float = 1.0
    """Share of the users, 0 to 1; below 1 the revision is on trial."""
    seconds: float = 0.0
    changed: bool = True
    """False where the revision was live, or on trial, already."""


class AdminClient:
    """Publishes, promotes and rolls back over HTTP, with the keys of these settings."""

    def __init__(self, settings: Settings) -> None:
        self._url = settings.gateway
        self._admin_key = settings.admin_secret
        self._api_key = api_key(settings)

    def publish(self, persona: str, revision: str, actor: str, *, share: float = 1.0) -> RevisionChange:
        """Publishes a registered revision for a share of the users.

        Raises:
            PublishError: the revision is refused.
            GatewayError: the gateway cannot be reached, or answers with another error.
        """
        body = {"persona": persona, "revision": revision, "actor": actor, "share": share}
        return self._change("publish", body)

    def rollback(self, persona: str, revision: str, actor: str) -> RevisionChange:
        """Goes back to a revision; empty: ends the trial, or goes back to the one before. Raises as `publish`."""
        return self._change("rollback", {"persona": persona, "revision": revision, "actor": actor})

    def promote(self, persona: str, actor: str, *, reason: str = "asked for") -> RevisionChange:
        """Makes the revision on trial live; the history keeps `reason`. Raises as `publish`."""
        return self._change("promote", {"persona": persona, "actor": actor, "reason": reason})

    def hold(self, persona: str) -> None:
        """Stops the gateway from promoting the revision on trial by itself. Raises as `publish`."""
        self._change("promote", {"persona": persona, "when": "better"})

    def learning(self, persona: str, *, title: str, state: str, percent: int = 0, reason: str = "") -> None:
        """Reports how far a persona is that is not live yet. Raises GatewayError."""
        body = {"title": title[:100] or persona, "state": state, "percent": percent, "reason": reason[:500]}
        self._send("PUT", f"/admin/learning/{persona}", body)

    def live_personas(self) -> list[str]:
        """Returns the names of the personas that are live. Raises GatewayError."""
        models = self._send("GET", "/v1/models", None)["data"]
        return [model["id"] for model in models if model["understudy"]["kind"] == "persona"]

    def _change(self, action: str, body: dict[str, Any]) -> RevisionChange:
        return RevisionChange.model_validate(self._send("POST", f"/admin/{action}", body))

    def _send(self, method: str, path: str, body: dict[str, Any] | None) -> dict[str, Any]:
        key = self._admin_key if path.startswith("/admin") else self._api_key
        headers = {"Authorization": f"Bearer {key}"}
        try:
            response = httpx.request(method, f"{self._url}{path}", json=body, headers=headers, timeout=TIMEOUT)
        except httpx.TransportError as error:
            raise _unreachable(self._url, str(error) or type(error).__name__) from None
        if response.is_success:
            return response.json()
        try:
            error = response.json()["error"]
        except (ValueError, KeyError):
            raise GatewayError(f"{self._url}{path} answered {response.status_code}: {response.text[:200]}") from None
        if response.status_code == 409:
            raise PublishError(error["message"], error.get("reasons"))
        raise GatewayError(error["message"])


def ask(settings: Settings, model: str, prompt: str, *, temperature: float | None, max_tokens: int) -> Iterator[str]:
    """Yields a model's answer to one question, piece by piece as the gateway streams it.

    `temperature` None leaves the base's own sampling.

    Raises:
        GatewayError: the gateway cannot be reached, or refuses the request.
    """
    from openai import APIConnectionError, APIStatusError, OpenAI, omit

    client = OpenAI(base_url=f"{settings.gateway}/v1", api_key=api_key(settings), max_retries=0)
    try:
        stream = client.chat.completions.create(
            model=model,
            messages=[{"role": "user", "content": prompt}],
            temperature=omit if temperature is None else temperature,
            max_tokens=max_tokens,
            stream=True,
        )
        for chunk in stream:
            if chunk.choices:
                yield chunk.choices[0].delta.content or ""
    except APIConnectionError:
        raise _unreachable(settings.gateway) from None
    except APIStatusError as error:
        message = error.body.get("message", error) if isinstance(error.body, dict) else error
        raise GatewayError(str(message)) from None


def api_key(settings: Settings) -> str:
    """Returns the key for inference; `none` where the settings have none."""
    return settings.api_key.get_secret_value() if settings.api_key else "none"


def _unreachable(url: str, reason: str = "") -> GatewayError:
    why = f" ({reason})" if reason else ""
    return GatewayError(f"no gateway at {url}{why}; start one with `understudy serve`")
