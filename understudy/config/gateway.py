"""Settings of the gateway: address, keys, limits, logs, and how revisions take over."""

from pydantic import BaseModel, Field, SecretStr


class GatewaySettings(BaseModel):
    """Part of `Settings`: the gateway."""

    host: str = "127.0.0.1"
    """Address that the gateway and the Space listen on. The engine always listens on loopback only."""

    port: int = Field(default=8000, ge=1, le=65535)
    """Port of the gateway."""

    gateway_url: str = ""
    """Where the Space and the command line find the gateway; empty means this machine, `port`."""

    api_key: SecretStr | None = None
    """Key that inference requests must carry as a bearer token; none means open to anybody who reaches the port."""

    admin_key: SecretStr | None = None
    """Key for publish and rollback; none means the one in `home`/admin.key, made at first start."""

    anonymous: bool | None = None
    """Whether requests without a key are answered; unset means: as long as there is no `api_key` and no inference key
    was ever made. (Revoking the last key does not open the gateway.)"""

    anonymous_requests_per_minute: int = Field(default=0, ge=0)
    """Requests a minute for each address without a key; 0 means no limit."""

    anonymous_tokens_per_minute: int = Field(default=0, ge=0)
    """Tokens a minute (prompt + answer) for each address without a key; 0 means no limit."""

    anonymous_max_concurrent: int = Field(default=0, ge=0)
    """Answers in progress for each address without a key; 0 means no limit."""

    max_concurrent: int = Field(default=256, ge=1)
    """Answers in progress in the whole gateway; further requests are told to try again."""

    limits_storage: str = "memory://"
    """Where the requests and tokens of each key are counted: in this process, or shared by several gateways, such as
    `redis://host:6379` (any address that the library `limits` knows)."""

    max_body_bytes: int = Field(default=1_000_000, ge=1_000)
    """Largest request body the gateway reads, in bytes."""

    cors_origins: str = ""
    """Web pages that may call the gateway from a browser: comma-separated origins, or `*`."""

    canary_answers: int = Field(default=200, ge=1)
    """Answers after which a revision on trial is promoted if no check fails."""

    drain_timeout: float = Field(default=120, gt=0)
    """Seconds that answers in flight on an old revision get to finish before it is unloaded anyway."""

    shutdown_timeout: int = Field(default=30, ge=1)
    """Seconds that answers in flight get when the gateway is told to stop."""

    log_json: bool | None = None
    """Logs of the gateway as JSON lines; unset means: unless they go to a terminal."""

    @property
    def gateway(self) -> str:
        """Base address of the gateway, without a trailing slash."""
        host = "127.0.0.1" if self.host in ("0.0.0.0", "::") else self.host
        return (self.gateway_url or f"http://{host}:{self.port}").rstrip("/")
