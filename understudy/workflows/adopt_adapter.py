"""`understudy adopt`: writes a mended copy of a third-party adapter, and validates it like any other."""

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from serve.adapter_files.mend import mend
from serve.rollout.validate_adapter import AdapterValidation, validate_adapter
from understudy.bases import Base, read_model_config, resolve_base
from understudy.config.settings import Settings
from understudy.errors import AdapterError
from understudy.registry.adapters import read_config

GGUF = ".gguf"


@dataclass(frozen=True)
class AdoptedAdapter:
    """A mended copy: where it is, what was changed, and whether it can be served."""

    folder: Path
    changes: list[str]
    validation: AdapterValidation


def adopt(
    settings: Settings, adapter: Path, out: Path | None, *, base_is: str = "", alpha: float | None = None
) -> AdoptedAdapter:
    """Writes a mended copy of the adapter in a folder, or of a GGUF file, to a new folder, and validates it there.

    Args:
        out: None: beside the original, with `-adopted` at the end of its name.
        base_is: the base that it was trained on, where it says another name for it or none.
        alpha: the lora_alpha that it was trained with, where it does not say it.

    Raises:
        AdapterError: what is wrong can be mended in more than one way or in none; or the new folder exists.
            Nothing is written then.
        BaseModelError: the base is not here.
    """
    adapter = adapter.expanduser()
    base = resolve_base(base_is or settings.base)
    out = (
        out.expanduser() if out else adapter.with_name(f"{adapter.stem if _is_gguf(adapter) else adapter.name}-adopted")
    )
    if out.exists():
        raise AdapterError(f"{out} exists; give another folder with --out")
    if _is_gguf(adapter):
        changes = [f"written from {adapter.name} as a PEFT adapter"]
        _from_gguf(adapter, base, out, alpha)
    else:
        changes = mend(adapter, base, out, base_is=base.public_name if base_is else "", alpha=alpha).changes
    validation = validate_adapter(settings, str(out), base_is=base_is)
    if not changes and not validation.valid:
        shutil.rmtree(out)
        raise AdapterError(f"{adapter}: nothing of it can be mended: {'; '.join(validation.problems)}")
    return AdoptedAdapter(out, changes, validation)


@contextmanager
def on_base(folder: Path, base_is: str) -> Iterator[Path]:
    """The adapter with `base_is` as the name of its base: a copy for the time of the block, or `folder` where that is
    empty.

    Nothing else is changed: the copy is validated and, before it is live, proved by the probe.

    Raises:
        AdapterError: `folder` has no adapter.
        BaseModelError: there is no such base here.
    """
    if not base_is:
        yield folder
        return
    read_config(folder)
    base = resolve_base(base_is)
    with tempfile.TemporaryDirectory() as place:
        yield mend(folder, base, Path(place) / folder.resolve().name, base_is=base.public_name).folder


def _is_gguf(adapter: Path) -> bool:
    return adapter.suffix == GGUF and adapter.is_file()


def _from_gguf(file: Path, base: Base, out: Path, alpha: float | None) -> None:
    from train.export.gguf_lora import read_lora

    staging = out.with_name(f".{out.name}.incoming")
    shutil.rmtree(staging, ignore_errors=True)
    try:
        read_lora(file, read_model_config(base), base.public_name, staging, alpha=alpha)
        staging.rename(out)
    finally:
        shutil.rmtree(staging, ignore_errors=True)
