"""Settings of the Space: its port, the arena, the proxies it trusts, and where votes survive a restart."""

from pathlib import Path

from pydantic import BaseModel, Field, SecretStr


class SpaceSettings(BaseModel):
    """Part of `Settings`: the Space and its arena."""

    space_port: int = Field(default=7860, ge=1, le=65535)
    """Port of the Gradio app."""

    space_repo: str = Field(default="", pattern=r"^([\w.-]+/[\w.-]+)?$")
    """The Space on the Hub where people can try what is pushed from here: `ORG/NAME`; the adapters' cards link it."""

    imported_answers: Path | None = None
    """Answers of other systems for the arena: a file (JSONL, CSV, …) with the columns `prompt`, `answer` and perhaps
    `system`, or a folder of such files, each named after its system; none means no imported answers."""

    moderation: str = ""
    """What checks prompts of the arena first: a file of regular expressions, a Python function `module:function`, or
    the address of an HTTP endpoint (docs/arena.md); empty means nothing."""

    battles_per_minute: int = Field(default=20, ge=1)
    """Battles that one visitor (a login, or a browser) may start in a minute; all of one address, five times that."""

    trusted_proxies: str = "loopback"
    """Proxies whose X-Forwarded-For the Space trusts: comma-separated networks, `loopback`, `private`."""


class VoteSettings(BaseModel):
    """Part of `Settings`: the repository that battles and votes are exported to."""

    votes_repo: str = ""
    """Data set repository that the Space sends battles and votes to, and restores them from: `hub:ORG/NAME`; empty
    means none. Needed where the disk does not outlive a restart."""

    votes_token: SecretStr | None = None
    """Hub token that may write `votes_repo`; none means the token that the Hub's client finds (HF_TOKEN)."""

    votes_every: float = Field(default=300, gt=0)
    """Seconds between two exports, when there is something new."""

    votes_batch: int = Field(default=20, ge=1)
    """Votes after which an export begins at once; a Space that is killed loses about this many at most."""
