"""The one place that reads the environment. The fields are in one class a concern: engine, gateway, hub, space."""

import secrets
from functools import cached_property
from pathlib import Path

from pydantic import BaseModel, Field, SecretStr, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict

from understudy.config.engine import EngineSettings
from understudy.config.gateway import GatewaySettings
from understudy.config.hub import HubSettings
from understudy.config.space import SpaceSettings, VoteSettings
from understudy.errors import ConfigError

SMOLLM2 = "smollm2"
"""The default base."""
TINY = "tiny"
"""The base of the tests."""

PROJECT = Path(__file__).resolve().parents[2]
SECRETS = Path("/run/secrets")
"""Where containers find secrets as files, each named like its variable in lower case. The environment wins."""


class TrainingSettings(BaseModel):
    """Part of `Settings`: recipes and runs."""

    recipes_dir: Path = PROJECT / "recipes"
    """Folder of the recipes, one folder each."""

    runs_dir: Path = PROJECT / "runs"
    """What training writes: `runs/<recipe>/<run>/`."""

    checkpoint_seconds: float = Field(default=10, ge=0)
    """Fewest seconds between two checkpoints of a training run, which is how much a kill may cost."""


class Settings(  # pyright: ignore[reportIncompatibleVariableOverride] (BaseSettings' type is narrower)
    BaseSettings, EngineSettings, GatewaySettings, HubSettings, SpaceSettings, VoteSettings, TrainingSettings
):
    """Settings from the environment, prefix `UNDERSTUDY_` (so `base` is `UNDERSTUDY_BASE`)."""

    model_config = SettingsConfigDict(env_prefix="UNDERSTUDY_", frozen=True, extra="ignore")

    base: str = SMOLLM2
    """The base of all personas: `smollm2`, a local folder, or a Hub id such as `Qwen/Qwen3-0.6B`; `tiny` in tests."""

    bases_dir: Path = Path.home() / ".cache" / "understudy" / "bases"
    """Where prepared bases are kept: one copy for every checkout and environment of this user."""

    home: Path = PROJECT / ".understudy"
    """Folder of all state: the database, the adapter store, logs, the admin key."""

    database_url: str = ""
    """SQLAlchemy URL; empty means SQLite in `home`."""

    judge_key: SecretStr | None = None
    """Key of the judge model's endpoint (`understudy report --judge`); sent there and nowhere else."""

    @property
    def database(self) -> str:
        """The SQLAlchemy URL in force."""
        return self.database_url or f"sqlite:///{self.home / 'understudy.db'}"

    @property
    def store_dir(self) -> Path:
        """The content-addressed adapter store."""
        return self.home / "adapters"

    @property
    def logs_dir(self) -> Path:
        """Where engine, gateway and Space write their logs."""
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
    """Create the file atomically; a process that comes at the same time finds the same key."""
    from filelock import FileLock

    with FileLock(f"{path}.lock"):
        if not path.exists():
            fresh = path.with_suffix(".new")
            fresh.touch(mode=0o600)
            fresh.write_text(secrets.token_urlsafe(32))
            fresh.replace(path)


def load_settings(**overrides: object) -> Settings:
    """Read the settings from files in SECRETS, then the environment, then those `overrides` that are not None.

    Raises:
        ConfigError: a variable has a value that cannot be used; the message names it.
    """
    try:
        given = {k: v for k, v in overrides.items() if v is not None}
        given["_secrets_dir"] = SECRETS if SECRETS.is_dir() else None
        return Settings(**given)  # pyright: ignore[reportArgumentType]
    except ValidationError as error:
        first = error.errors()[0]
        name = "_".join(str(part) for part in first["loc"])
        raise ConfigError(
            f"setting {name} (UNDERSTUDY_{name.upper()}): {first['msg']}, found {first['input']!r}"
        ) from None
