"""`understudy validate`: every reason why an adapter, in a folder or on the Hub, cannot be served."""

from pathlib import Path

from pydantic import BaseModel, ConfigDict

from serve.engine.servable import check_architecture
from serve.engine.vllm import installed_vllm
from serve.rollout.validate import adapter_summary, validate
from understudy.bases import Base, base_revision, resolve_base
from understudy.config.settings import Settings
from understudy.errors import BaseModelError
from understudy.registry.adapters import content_revision


class AdapterValidation(BaseModel):
    """The problems of one adapter, and what its files say about it; `understudy validate --json` prints it."""

    model_config = ConfigDict(frozen=True)

    adapter: str
    """The folder, or REPO@REVISION."""
    revision: str | None
    """The commit of an adapter from the Hub; the content's hash of a valid one in a folder."""
    valid: bool
    problems: list[str]
    rank: object = None
    base: object = None
    size: int | None = None
    """Bytes of its weights."""


def validate_adapter(settings: Settings, adapter: str, *, base_is: str = "") -> AdapterValidation:
    """Validates a folder, or a repository of the Hub written REPO@REVISION, which is fetched first.

    `base_is` names the served base where the adapter has another name for the same weights. A base that is not here is
    a problem like any other: what needs no base is still checked.

    Raises:
        HubError: the repository cannot be fetched.
    """
    problems: list[str] = []
    base: Base | None = None
    try:
        base = resolve_base(base_is or settings.base)
    except BaseModelError as error:
        problems.append(f"{error}; give the base with --base; what needs no base was checked")
    folder, revision = _locate(adapter, settings.hub_endpoint)
    problems += _unservable(base, settings.bases_dir) if base else []
    problems += validate(folder, base, max_rank=settings.max_lora_rank, base_is=bool(base_is))
    if not problems and not revision:
        revision = content_revision(folder)
    return AdapterValidation(
        adapter=adapter, revision=revision, valid=not problems, problems=problems, **adapter_summary(folder)
    )


def _unservable(base: Base, cache: Path) -> list[str]:
    """Returns why no adapter of this base can be served; empty where vLLM is not installed and cannot be asked.

    Empty, too, where the base is not here: the check of its modules says that.
    """
    if installed_vllm() is None:
        return []
    if not base.local and base_revision(base) is None:
        return []
    try:
        check_architecture(base, cache)
    except (BaseModelError, OSError, ValueError) as error:
        return [str(error)]
    return []


def _locate(adapter: str, endpoint: str) -> tuple[Path, str | None]:
    """Returns the folder, and the commit if it comes from the Hub. A name without @ never leaves this machine."""
    repo, at, revision = adapter.rpartition("@")
    if not at or Path(adapter).exists():
        return Path(adapter), None
    from understudy.registry.hub import fetch_adapter

    return fetch_adapter(repo, revision, endpoint=endpoint)
