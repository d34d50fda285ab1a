"""A release: the files of an adapter, or of a whole model, as they leave this machine for the Hub."""

import json
import re
import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

from train.hub.public_base import PublicBase, public_base
from understudy.bases import SMOLLM2, TINY, base_revision, resolve_base
from understudy.errors import AdapterError, BaseModelError
from understudy.registry.adapters import CONFIG, WEIGHTS, kept_files, read_config

TOKENIZER = re.compile(
    r"tokenizer\.json|tokenizer_config\.json|special_tokens_map\.json|chat_template\.jinja|tokenizer\.model|"
    r"vocab\.json|merges\.txt|added_tokens\.json"
)
MODEL = re.compile(
    r"config\.json|generation_config\.json|model(-\d+-of-\d+)?\.safetensors|model\.safetensors\.index\.json"
)
SETTINGS, PROOF, README = "training.json", "proof.json", "README.md"
LOCAL = {"_name_or_path", "name_or_path", "is_local", "local_files_only"}
"""Keys that transformers writes about the machine that it ran on."""

RECORD_KEYS = {"run": "examples_sha256", "result": "steps"}
"""A key that every record of this kind, written by training, has."""

Content = bytes | Path


@dataclass(frozen=True)
class Release:
    """The files to push, without the card and the proof."""

    folder: Path
    whole: bool
    """A whole model, the product of a full fine-tune, and not an adapter."""
    base: PublicBase
    rank: int
    run: Mapping[str, Any]
    """`training.json`; empty if the adapter was not made by Understudy."""
    cost: Mapping[str, Any]
    """`result.json` of the run; empty likewise."""
    files: dict[str, Content] = field(default_factory=dict)


def read_release(folder: Path, asked_base: str = "") -> Release:
    """Read the files of `folder` that may be pushed, with the base under its public name.

    Pickles, code, checkpoints and everything else in the folder are left out.

    Args:
        asked_base: the Hub id of the base, if the folder names none that others can find.

    Raises:
        AdapterError: there is neither an adapter nor a model in safetensors form, or its base has no public name.
    """
    whole = not (folder / CONFIG).is_file() and (folder / "config.json").is_file()
    config = {} if whole else read_config(folder)
    run = _record(folder / SETTINGS, "run")
    named = run.get("base") if whole else config.get("base_model_name_or_path")
    if not isinstance(named, str) or not named:
        if not asked_base:
            raise AdapterError(f"{folder}: it does not say which base it was trained on; name it with --base")
        named = asked_base
    pin = run.get("base_revision") if whole else config.get("revision")
    base = public_base(named, pin if isinstance(pin, str) else None, asked_base)
    made_here = _record(folder.parent / "settings.json", "run") == run != {}
    cost = _record(folder.parent / "result.json", "result") if made_here else {}
    release = Release(folder, whole, base, int(config.get("r") or 0), run, cost)
    release.files.update(_model_files(folder) if whole else _adapter_files(folder, config, base))
    if run:
        release.files[SETTINGS] = as_json({**run, "base": base.name, "base_revision": base.revision})
    return release


def tokenizer_files(release: Release, named: str) -> dict[str, Content]:
    """Return the tokenizer and chat template to push: the folder's own, else those of its base at its revision.

    Args:
        named: the base as this machine knows it.

    Raises:
        BaseModelError: the base's tokenizer cannot be loaded.
    """
    own = {path.name: path for path in sorted(release.folder.iterdir()) if TOKENIZER.fullmatch(path.name)}
    if "tokenizer.json" in own:
        return {name: _clean(path) for name, path in own.items()}
    from transformers import AutoTokenizer

    base = resolve_base(named)
    revision = None if base.local else release.base.revision
    work = Path(tempfile.mkdtemp())
    try:
        AutoTokenizer.from_pretrained(base.location, revision=revision).save_pretrained(work)
        return {p.name: _clean(p, read=True) for p in sorted(work.iterdir()) if TOKENIZER.fullmatch(p.name)}
    except (OSError, ValueError) as error:
        reason = str(error).strip().splitlines()[0]
        raise BaseModelError(f"base {base.name}: its tokenizer cannot be loaded: {reason}") from error
    finally:
        shutil.rmtree(work, ignore_errors=True)


def content_of(release: Release) -> str:
    """Return the revision that a proof pack of exactly this content names."""
    from understudy.registry.adapters import content_revision

    if release.whole:
        return base_revision(resolve_base(str(release.folder))) or ""
    return content_revision(release.folder)


def base_here(release: Release) -> str:
    """Return the base by its name on this machine: as the folder names it, or its public name."""
    if release.whole:
        return str(release.folder)
    if release.run.get("base") == SMOLLM2:
        return SMOLLM2
    named = str(read_config(release.folder).get("base_model_name_or_path") or "")
    return named if Path(named).is_dir() or named == TINY else release.base.name


def as_json(value: object) -> bytes:
    """Return JSON without any path of this machine."""
    return (json.dumps(without_paths(value), indent=2, ensure_ascii=False) + "\n").encode()


def without_paths(value: Any) -> Any:
    """Return the value with every absolute path in it reduced to its last part."""
    if isinstance(value, dict):
        return {key: without_paths(one) for key, one in value.items()}
    if isinstance(value, list):
        return [without_paths(one) for one in value]
    if isinstance(value, str) and re.fullmatch(r"(/|~/|[A-Za-z]:\\)[^\n*|^$()]+", value):
        return PurePosixPath(value.replace("\\", "/")).name
    return value


def _adapter_files(folder: Path, config: dict[str, Any], base: PublicBase) -> dict[str, Content]:
    named = {**config, "base_model_name_or_path": base.name, "revision": base.revision}
    there = {path.name for path in kept_files(folder)}
    if not {CONFIG, WEIGHTS} <= there:
        raise AdapterError(f"{folder}: {CONFIG} or {WEIGHTS} is a link to another place; put the file itself there")
    return {CONFIG: as_json(dict(sorted(named.items()))), WEIGHTS: folder / WEIGHTS}


def _model_files(folder: Path) -> dict[str, Content]:
    found = {path.name: path for path in sorted(folder.iterdir()) if path.is_file() and MODEL.fullmatch(path.name)}
    if not any(name.endswith(".safetensors") for name in found):
        raise AdapterError(f"{folder}: no model in safetensors form there")
    return {name: _clean(path) for name, path in found.items()}


def _clean(path: Path, *, read: bool = False) -> Content:
    """Return a file as it is pushed: settings without paths of this machine, everything else unchanged."""
    if path.name in ("config.json", "generation_config.json", "tokenizer_config.json", "special_tokens_map.json"):
        settings = json.loads(path.read_text(encoding="utf-8"))
        return as_json({key: value for key, value in settings.items() if key not in LOCAL})
    return path.read_bytes() if read else path


def _record(path: Path, kind: str) -> dict[str, Any]:
    """Read a record that training wrote; empty if there is none."""
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return value if isinstance(value, dict) and RECORD_KEYS[kind] in value else {}
