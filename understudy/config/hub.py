"""Settings of the Hub: which repositories are followed, and which adapters may be requested by their Hub id."""

from pathlib import Path

from pydantic import BaseModel, Field, SecretStr


class HubSettings(BaseModel):
    """Part of `Settings`: the Hub."""

    hub_endpoint: str = ""
    """Address of the Hub; empty means the client's own default (HF_ENDPOINT, else https://huggingface.co)."""

    personas_file: Path | None = None
    """Which persona follows which repository (deploy/personas.example.yaml); none means that nothing is followed."""

    hub_poll: float = Field(default=30, gt=0)
    """Seconds between two polls of a followed repository, when no webhook calls earlier."""

    webhook_secret: SecretStr | None = None
    """What the Hub must send as X-Webhook-Secret to /hooks/hub; none disables the route."""

    hub_orgs: str = ""
    """Adapters that may be requested by their Hub id: comma-separated organisations (`ann`) and repositories
    (`ann/poet`); empty means none."""

    hub_store_bytes: int = Field(default=10 * 2**30, ge=0)
    """Bytes of disk for adapters requested by their Hub id; beyond it, the least recently used one is deleted."""
