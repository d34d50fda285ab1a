"""The one place where the environment is read: every setting, its unit and its default."""

import secrets
from functools import cached_property
from pathlib import Path
from typing import Literal

from pydantic import Field, SecretStr, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict

from understudy.errors import UnderstudyError

SMOLLM2 = "smollm2"
"""The default base."""
TINY = "tiny"
"""The base of the tests."""

PROJECT = Path(__file__).resolve().parents[2]
SECRETS = Path("/run/secrets")
"""Where containers find secrets as files, named like the variable in small letters. The environment goes first."""


class Settings(BaseSettings):
    """Settings from the environment, prefix `UNDERSTUDY_` (so `base` is `UNDERSTUDY_BASE`)."""

    model_config = SettingsConfigDict(env_prefix="UNDERSTUDY_", frozen=True, extra="ignore")

    base: str = SMOLLM2
    """The base everyone shares: `smollm2`, a local folder, or a Hub id such as `Qwen/Qwen3-0.6B`; `tiny` in tests."""

    bases_dir: Path = Path.home() / ".cache" / "understudy" / "bases"
    """Where prepared bases are kept: one copy for every checkout and environment of this user."""

    home: Path = PROJECT / ".understudy"
    """Where state lives: the database, the adapter store, logs, the admin key."""

    recipes_dir: Path = PROJECT / "recipes"
    """One folder a recipe."""

    runs_dir: Path = PROJECT / "runs"
    """What training writes: `runs/<recipe>/<run>/`."""

    database_url: str = ""
    """SQLAlchemy URL; empty means SQLite in `home`."""

    host: str = "127.0.0.1"
    """Address that the gateway and the Space listen on. The engine always listens on loopback only."""

    port: int = Field(default=8000, ge=1, le=65535)
    """Port of the gateway."""

    space_port: int = Field(default=7860, ge=1, le=65535)
    """Port of the Gradio app."""

    gateway_url: str = ""
    """Where the Space and the command line find the gateway; empty means this machine, `port`."""

    api_key: SecretStr | None = None
    """Key that inference requests must carry as a bearer token; none means open to whoever reaches the port."""

    admin_key: SecretStr | None = None
    """Key for publish and rollback; none means the one in `home`/admin.key, made at first start."""

    judge_key: SecretStr | None = None
    """Key of the judge model's endpoint (`understudy report --judge`); sent there and nowhere else."""

    anonymous: bool | None = None
    """Whether requests without a key are answered; unset means: as long as there is no `api_key` and no inference key
    was ever made. (Revoking the last key does not open the door.)"""

    anonymous_requests_per_minute: int = Field(default=0, ge=0)
    """Requests a minute for each address without a key; 0 means no limit."""

    anonymous_tokens_per_minute: int = Field(default=0, ge=0)
    """Tokens a minute (prompt + answer) for each address without a key; 0 means no limit."""

    anonymous_max_concurrent: int = Field(default=0, ge=0)
    """Answers in progress for each address without a key; 0 means no limit."""

    max_concurrent: int = Field(default=256, ge=1)
    """Answers in progress in the whole gateway; what comes on top is told to try again."""

    limits_storage: str = "memory://"
    """Where keys' requests and tokens are counted: in this process, or shared by several gateways, for instance
    `redis://host:6379` (any address that the library `limits` knows)."""

    cors_origins: str = ""
    """Web pages that may call the gateway from a browser: origins with commas between them, or `*`."""

    canary_answers: int = Field(default=200, ge=1)
    """Answers after which a revision on trial is promoted if nothing speaks against it."""

    hub_endpoint: str = ""
    """Address of the Hub; empty means the client's own default (HF_ENDPOINT, else https://huggingface.co)."""

    personas_file: Path | None = None
    """Which persona follows which repository of the Hub (deploy/personas.example.yaml); none means nobody does."""

    hub_poll: float = Field(default=30, gt=0)
    """Seconds between two looks at a followed repository, when no webhook says to look sooner."""

    webhook_secret: SecretStr | None = None
    """What the Hub must send as X-Webhook-Secret to /hooks/hub; none means that there is no such route."""

    hub_orgs: str = ""
    """Whose adapters may be asked for by their Hub id: organisations (`ann`) and repositories (`ann/poet`) with commas
    between them; empty means nobody's."""

    hub_store_bytes: int = Field(default=10 * 2**30, ge=0)
    """Bytes of disk for adapters that were asked for by their Hub id; beyond it, the one unused longest is deleted."""

    votes_repo: str = ""
    """Data set repository that the Space sends battles and votes to, and restores them from: `hub:ORG/NAME`; empty
    means none. Needed where the disk does not outlive a restart."""

    votes_token: SecretStr | None = None
    """Hub token that may write `votes_repo`; none means the one that the Hub's client finds (HF_TOKEN)."""

    votes_every: float = Field(default=300, gt=0)
    """Seconds between two exports, when there is something new."""

    votes_batch: int = Field(default=20, ge=1)
    """Votes after which an export begins at once: about as many are lost at most when the Space is killed."""

    imported_answers: Path | None = None
    """Answers of other systems for the arena: a file (JSONL, CSV, …) with the columns `prompt`, `answer` and perhaps
    `system`, or a folder of such files, each named after its system; none means nobody's."""

    moderation: str = ""
    """Who looks at prompts of the arena first: a file of regular expressions, a Python function `module:function`, or
    the address of an HTTP endpoint (docs/arena.md); empty means nobody."""

    battles_per_minute: int = Field(default=20, ge=1)
    """Battles that one visitor (a login, or a browser) may start in a minute; all of one address, five times that."""

    trusted_proxies: str = "loopback"
    """Whose X-Forwarded-For the Space believes: networks with commas between them, `loopback`, `private`."""

    log_json: bool | None = None
    """Logs of the gateway as JSON lines; unset means: unless they go to a terminal."""

    shutdown_timeout: int = Field(default=30, ge=1)
    """Seconds that answers in flight get when the gateway is told to stop."""

    max_body_bytes: int = Field(default=1_000_000, ge=1_000)
    """Largest request body the gateway reads, in bytes."""

    max_lora_rank: int = 64
    """Largest adapter rank the engine is started for; vLLM knows 1, 8, 16, 32, 64, 128, 256, 320, 512."""

    slots: int = Field(default=0, ge=0)
    """Adapters that can be in one batch; 0 means one for each persona in the registry, up to 32, and two to spare, at
    least 8. Each takes memory for good; personas beyond them take turns."""

    tool_call_parser: str = "hermes"
    """How vLLM reads the base's tool calls: `hermes` (Qwen and many others), `llama3_json`, `mistral`, …"""

    dtype: Literal["auto", "float32", "bfloat16", "float16"] = "auto"
    """What the engine computes in. `auto`: what the base's configuration says; float32 for the tiny base, and on a CPU
    without instructions for bfloat16, where that would be many times slower."""

    max_model_len: int = Field(default=0, ge=0)
    """Longest prompt + answer in tokens; 0 means what the base allows (at most 4096 on a CPU)."""

    gpu_memory_utilization: float = Field(default=0.0, ge=0, le=1)
    """Share of GPU memory (on a CPU: of RAM) that vLLM may plan with; 0 means 0.9 on a GPU, 0.3 on a CPU."""

    engine_url: str = ""
    """Address of an engine that somebody else runs (deploy/ray); empty means our own, a child process."""

    cpu_lora: bool = True
    """Whether vLLM on a CPU computes adapters with `serve.engine.cpu_lora` instead of its own slower way."""

    cpu_worker_process: bool = False
    """Whether vLLM on a CPU computes in a process of its own, whose threads it binds to cores. That is worth it on
    a machine with several sockets; elsewhere it takes a core and holds streams back."""

    start_timeout: float = Field(default=300, gt=0)
    """Seconds that the engine gets to load before we give up."""

    checkpoint_seconds: float = Field(default=10, ge=0)
    """Least seconds between two checkpoints of a training run: what a kill may cost."""

    drain_timeout: float = Field(default=120, gt=0)
    """Seconds that answers in flight on an old revision get to finish before it is unloaded anyway."""

    @property
    def database(self) -> str:
        """The SQLAlchemy URL in force."""
        return self.database_url or f"sqlite:///{self.home / 'understudy.db'}"

    @property
    def gateway(self) -> str:
        """Base address of the gateway, without a trailing slash."""
        host = "127.0.0.1" if self.host in ("0.0.0.0", "::") else self.host
        return (self.gateway_url or f"http://{host}:{self.port}").rstrip("/")

    @property
    def store_dir(self) -> Path:
        """The content-addressed adapter store."""
        return self.home / "adapters"

    @property
    def logs_dir(self) -> Path:
        return self.home / "logs"

    @cached_property
    def admin_secret(self) -> str:
        """The admin key in force; makes `home`/admin.key (readable by the owner only) when there is none."""
        if self.admin_key:
            return self.admin_key.get_secret_value()
        path = self.home / "admin.key"
        if not path.exists():
            self.home.mkdir(parents=True, exist_ok=True)
            _write_secret(path)
        return path.read_text().strip()


def _write_secret(path: Path) -> None:
    """Makes the file, whole from its first moment; whoever comes at the same time finds that one."""
    from filelock import FileLock

    with FileLock(f"{path}.lock"):
        if not path.exists():
            fresh = path.with_suffix(".new")
            fresh.touch(mode=0o600)
            fresh.write_text(secrets.token_urlsafe(32))
            fresh.replace(path)


def load_settings(**overrides: object) -> Settings:
    """Settings from files in SECRETS, then from the environment, then `overrides` that are not None.

    Raises:
        UnderstudyError: a variable has a value that cannot be used; the message names it.
    """
    try:
        said = {k: v for k, v in overrides.items() if v is not None}
        said["_secrets_dir"] = SECRETS if SECRETS.is_dir() else None
        return Settings(**said)  # pyright: ignore[reportArgumentType]
    except ValidationError as error:
        first = error.errors()[0]
        name = "_".join(str(part) for part in first["loc"])
        raise UnderstudyError(
            f"setting {name} (UNDERSTUDY_{name.upper()}): {first['msg']}, found {first['input']!r}"
        ) from None
