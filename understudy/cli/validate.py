"""`understudy validate`: everything that keeps an adapter, here or on the Hub, from being served."""

import json
from pathlib import Path

from rich.console import Console

from understudy.bases import Base, resolve_base
from understudy.config.settings import Settings
from understudy.errors import BaseModelError
from understudy.registry.adapters import content_revision, short

console = Console(highlight=False, soft_wrap=True)


def validate_adapter(settings: Settings, adapter: str, *, json_output: bool) -> int:
    """Checks a folder, or a repository of the Hub written REPO@REVISION; prints the result, returns the exit code.

    Raises:
        AdapterError: the repository cannot be fetched.
        BaseModelError: the base in the settings is not there.
    """
    from serve.rollout.validate import adapter_summary, validate

    base = resolve_base(settings.base)
    folder, revision = _locate(adapter)
    problems = [*_unservable(base, settings.bases_dir), *validate(folder, base, max_rank=settings.max_lora_rank)]
    if not problems and not revision:
        revision = content_revision(folder)
    if json_output:
        result = {"adapter": adapter, "revision": revision, "valid": not problems, "problems": problems}
        print(json.dumps(result | adapter_summary(folder), indent=2))
    elif problems:
        for problem in problems:
            console.print(f"- {problem}", markup=False)
    else:
        console.print(f"valid: {adapter} can be served as {short(revision or '')}", markup=False)
    return 1 if problems else 0


def _unservable(base: Base, cache: Path) -> list[str]:
    """Why no adapter of this base can be served at all; empty when nobody can say because vLLM is not here."""
    from serve.engine.servable import check_architecture, vllm_version

    if vllm_version() is None:
        return []
    try:
        check_architecture(base, cache)
    except BaseModelError as error:
        return [str(error)]
    return []


def _locate(adapter: str) -> tuple[Path, str | None]:
    """The folder to look at, and the commit if it came from the Hub. A name without @ never leaves this machine."""
    repo, at, revision = adapter.rpartition("@")
    if not at or Path(adapter).exists():
        return Path(adapter), None
    from understudy.registry.hub import fetch_adapter

    return fetch_adapter(repo, revision)
