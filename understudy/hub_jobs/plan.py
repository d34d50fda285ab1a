"""Where a job of the Hub runs, and the command that submits it by hand."""

import difflib
import re
import sys
from pathlib import Path

from pydantic import BaseModel, ConfigDict

from understudy.errors import ConfigError, JobError

PYTHON = f"{sys.version_info.major}.{sys.version_info.minor}"
"""The versions that a job installs are those that fit this Python, so a job has the same."""

IMAGE = f"ghcr.io/astral-sh/uv:python{PYTHON}-bookworm"
"""Has uv and that Python."""

UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400}
TIMEOUT = r"(\d+(?:\.\d+)?)([smhd]?)"


class JobPlan(BaseModel):
    """Where a job runs, and for how long."""

    model_config = ConfigDict(frozen=True)

    flavor: str = "a10g-large"
    timeout: str = "2h"
    """In the Hub's form: a number with s, m, h or d."""
    package: str = ""
    """The requirement that installs this program; empty means a bundle of the sources here."""

    @property
    def seconds(self) -> float:
        """The time-out. Raises JobError where the Hub would not understand it."""
        if (found := re.fullmatch(TIMEOUT, self.timeout)) is None:
            raise JobError(f"--timeout {self.timeout!r}: give a number with s, m, h or d, such as 90m")
        return float(found[1]) * UNITS[found[2] or "s"]

    def check(self) -> None:
        """Raises JobError when the Hub would refuse the plan."""
        from huggingface_hub import JobHardware

        known = [flavor.value for flavor in JobHardware]
        if self.flavor not in known:
            near = [name for name in known if name.startswith(self.flavor)]
            near = near or difflib.get_close_matches(self.flavor, known)
            hint = f"did you mean {' or '.join(near)}?" if near else f"there are: {', '.join(known)}"
            raise JobError(f"--flavor {self.flavor}: the Hub has no such hardware; {hint}")
        _ = self.seconds


def job_options(on: str, options: dict[str, str | None], *, dry_run: bool) -> dict[str, str] | None:
    """The options of a job that were given; None for work on this machine (`on` is "here").

    Raises:
        ConfigError: an option that only a job has is given for work here.
    """
    given = {name: value for name, value in options.items() if value is not None}
    if on != "here":
        return given
    if given or dry_run:
        raise ConfigError(f"--{next(iter(given), 'dry-run')} is for a job; add --on hf-jobs")
    return None


class WrittenJob(BaseModel):
    """A job on disk."""

    model_config = ConfigDict(frozen=True)

    plan: JobPlan
    script: Path
    bundle: Path | None
    port: int | None = None
    """The port that the Hub's proxy exposes, if any."""
    public: bool = False
    """Whether the proxy lets everybody reach it, not only tokens that may read the job."""
    secrets: tuple[str, ...] = ()
    """Variables of the job's environment that are secret, besides HF_TOKEN."""

    @property
    def arguments(self) -> list[str]:
        """Arguments of the script."""
        return [str(self.bundle)] if self.bundle else []

    @property
    def command(self) -> list[str]:
        """The command that submits it by hand."""
        options = ["--image", IMAGE, "--flavor", self.plan.flavor, "--timeout", self.plan.timeout]
        if self.port is not None:
            options += ["--expose-public" if self.public else "--expose", str(self.port)]
        for name in ("HF_TOKEN", *self.secrets):
            options += ["--secrets", name]
        return ["hf", "jobs", "uv", "run", *options, str(self.script), *self.arguments]
