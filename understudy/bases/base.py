"""Resolves a base: from a name in the settings to a model that transformers and vLLM can load, and its revision."""

import hashlib
import json
import logging
import os
import struct
from functools import lru_cache
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict

from understudy.bases.catalogue import OLD_NAMES, known_base
from understudy.bases.prepare import Progress, prepared
from understudy.config.settings import SMOLLM2, TINY, load_settings
from understudy.errors import BaseModelError
from understudy.hub_errors import hub_failure

log = logging.getLogger("understudy.bases")

HUB_TIMEOUT = 10.0
"""Seconds that the Hub gets to answer whether it has a base."""

_commits: dict[str, str] = {}
"""Commit of each Hub base that this process works on."""

CONTEXT_NAMES = ("max_position_embeddings", "n_positions", "max_seq_len", "seq_length", "max_sequence_length")
"""Keys of config.json under which architectures keep their context."""

TINY_DIR = Path(__file__).resolve().parent / "tiny"


class Base(BaseModel):
    """A base model: its name and where it is."""

    model_config = ConfigDict(frozen=True)

    name: str
    """As users write it: `smollm2`, `tiny`, a folder, or a Hub id."""
    location: str
    """What transformers and vLLM are given: an absolute folder or a Hub id."""
    local: bool

    @property
    def tiny(self) -> bool:
        return self.name == TINY

    @property
    def shipped(self) -> bool:
        """Whether it comes with Understudy or its packages; recipes then use the rows in their own folder."""
        return self.name in (TINY, SMOLLM2)

    @property
    def public_name(self) -> str:
        """The name that an adapter trained on it gives its base: the Hub id if there is one."""
        known = known_base(self.name)
        return (known.hub_id if known else "") or self.name

    def is_called(self, name: str) -> bool:
        """Whether `name` means this base: its own name, an earlier one, or the Hub id that it derives from."""
        return OLD_NAMES.get(name, name) in (self.name, self.public_name)


def resolve_base(name: str, on_progress: Progress = lambda what, done, total: None) -> Base:
    """Return the base of that name without asking the Hub: a Hub id is checked when it is loaded.

    `smollm2` is prepared at its first use; `on_progress` is told how far that is.

    Raises:
        BaseModelError: a local folder does not exist or holds no model, the name is neither a folder nor a Hub id, or
            `smollm2` cannot be prepared.
    """
    name = OLD_NAMES.get(name, name)
    if name == TINY:
        _require_model(TINY_DIR, "the tiny base is not built: run `python -m tools.tiny_base.pretrain`")
        return Base(name=name, location=str(TINY_DIR), local=True)
    if name == SMOLLM2:
        return Base(name=name, location=str(prepared(load_settings().bases_dir, on_progress)), local=True)
    path = Path(name).expanduser()
    if path.is_dir() or name.startswith((".", "/", "~")):
        _require_model(path, f"base {name!r}: no model there (config.json and *.safetensors are missing)")
        path = path.resolve()
        if path == TINY_DIR:
            return resolve_base(TINY)
        if path == load_settings().bases_dir / SMOLLM2:
            return resolve_base(SMOLLM2)
        return Base(name=str(path), location=str(path), local=True)
    if name.count("/") != 1 or not all(name.split("/")):
        raise BaseModelError(f"base {name!r}: use smollm2, tiny, a folder, or a Hub id such as Qwen/Qwen3-0.6B")
    return Base(name=name, location=name, local=False)


def require_base(name: str, on_progress: Progress = lambda what, done, total: None) -> Base:
    """Return the base of that name if it is available here, in the Hub's cache, or from the Hub.

    Without a connection, a base in the cache is used as it is, and this process does not ask the Hub again.

    Raises:
        BaseModelError: it is not available; the message says why and what to use instead.
    """
    base = resolve_base(name, on_progress)
    if base.local:
        return base
    from huggingface_hub import HfApi, constants

    instead = "use --base smollm2, a local folder, or another Hub id"
    try:
        HfApi().model_info(base.location, timeout=HUB_TIMEOUT)
    except Exception as error:
        failure = hub_failure(error)
        if failure.kind in ("gated", "missing"):
            text = f"base {name}: {failure.sentence}; {instead}"
            raise BaseModelError(text, code=failure.kind, reason=failure.sentence) from None
        if base_revision(base) is None:
            reason = f"{failure.sentence}, and it is not in the cache"
            raise BaseModelError(f"base {name}: {reason}; {instead}", code=failure.kind, reason=reason) from None
        os.environ["HF_HUB_OFFLINE"] = "1"
        constants.HF_HUB_OFFLINE = True
    return base


def base_revision(base: Base) -> str | None:
    """Return what pins the base's weights: for a local base the first 12 hex digits of their SHA-256.

    For a Hub id it is the commit of `main`, or the cached one if the Hub does not answer; None if there is neither. It
    is looked up once a process, so that everything in it works on the same commit, whatever is pushed meanwhile.
    """
    if base.local:
        return _weights_hash(base.location)
    if base.location not in _commits:
        commit = _commit(base.location)
        if commit is None:
            return None
        _commits[base.location] = commit
    return _commits[base.location]


def pinned(base: Base) -> dict[str, Any]:
    """Return the `revision` argument for `from_pretrained` of a base on the Hub; nothing for a local one."""
    return {} if base.local else {"revision": base_revision(base)}


def adapter_pin(base: Base) -> str | None:
    """Return the `revision` for an adapter's configuration.

    None for a base that adapters name by a Hub id: plain PEFT would look for our hash among the commits on the Hub.
    """
    return None if base.public_name != base.name else base_revision(base)


def weight_shapes(base: Base) -> dict[str, tuple[int, ...]]:
    """Return name and shape of every tensor of the base, from the safetensors headers alone, here or on the Hub.

    Raises:
        BaseModelError: the base is neither on this machine nor on the Hub in safetensors form.
    """
    folder = Path(base.location) if base.local else _cached_snapshot(base)
    shapes: dict[str, tuple[int, ...]] = {}
    for path in sorted(folder.glob("*.safetensors")) if folder else ():
        header = read_safetensors_header(path)
        shapes |= {name: tuple(info["shape"]) for name, info in header.items() if name != "__metadata__"}
    return shapes if shapes or base.local else _shapes_on_the_hub(base)


def read_model_config(base: Base) -> dict[str, Any]:
    """Return the base's config.json. Raises BaseModelError when it is not available."""
    if base.local:
        return json.loads((Path(base.location) / "config.json").read_text(encoding="utf-8"))
    from huggingface_hub import hf_hub_download

    try:
        path = Path(hf_hub_download(base.location, "config.json", **pinned(base)))
    except Exception as error:
        raise BaseModelError(f"base {base.name}: no config.json: {hub_failure(error).sentence}") from error
    return json.loads(path.read_text(encoding="utf-8"))


def context_length(base: Base) -> int:
    """Return how many tokens the base reads at once; 0 where its config.json does not say or is not available."""
    try:
        config = read_model_config(base)
    except (BaseModelError, OSError, ValueError):
        return 0
    inner = config.get("text_config")
    found = [one.get(name) for one in (config, inner if isinstance(inner, dict) else {}) for name in CONTEXT_NAMES]
    return next((length for length in found if isinstance(length, int) and length > 0), 0)


def read_safetensors_header(path: Path) -> dict:
    """Return the JSON header of a safetensors file: tensor name to dtype, shape and data_offsets.

    Format: 8 bytes little-endian length, then that many bytes of JSON
    (https://huggingface.co/docs/safetensors).

    Raises:
        ValueError: the file is not a safetensors file.
    """
    with path.open("rb") as file:
        prefix = file.read(8)
        length = struct.unpack("<Q", prefix)[0] if len(prefix) == 8 else 0
        if not 2 <= length <= min(path.stat().st_size - 8, 100_000_000):
            raise ValueError(f"{path.name} is not a safetensors file: its header says {length} bytes")
        header = json.loads(file.read(length))
    if not isinstance(header, dict):
        raise ValueError(f"{path.name} is not a safetensors file: its header is no JSON object")
    return header


def _require_model(folder: Path, message: str) -> None:
    if not (folder / "config.json").is_file() or not any(folder.glob("*.safetensors")):
        raise BaseModelError(message)


def _commit(repo: str) -> str | None:
    from huggingface_hub import HfApi, scan_cache_dir
    from huggingface_hub.errors import CacheNotFound

    try:
        return HfApi().model_info(repo, timeout=HUB_TIMEOUT).sha
    except Exception as error:
        log.info("%s: %s; the cache says which commit it is at", repo, hub_failure(error).sentence)
    try:
        repos = [r for r in scan_cache_dir().repos if r.repo_id == repo and r.repo_type == "model"]
    except CacheNotFound:
        return None
    return next((v.commit_hash for r in repos for v in r.revisions if "main" in v.refs), None)


def _cached_snapshot(base: Base) -> Path | None:
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import LocalEntryNotFoundError

    wanted = ["*.safetensors", "*.json"]
    try:
        return Path(snapshot_download(base.location, allow_patterns=wanted, local_files_only=True, **pinned(base)))
    except LocalEntryNotFoundError:
        return None


def _shapes_on_the_hub(base: Base) -> dict[str, tuple[int, ...]]:
    from huggingface_hub import HfApi

    try:
        found = HfApi().get_safetensors_metadata(base.location, timeout=HUB_TIMEOUT, **pinned(base))
    except Exception as error:
        text = f"base {base.name}: not in the local Hub cache; {hub_failure(error).sentence}"
        raise BaseModelError(text) from error
    return {name: tuple(t.shape) for file in found.files_metadata.values() for name, t in file.tensors.items()}


@lru_cache(maxsize=8)
def _hash_files(files: tuple[tuple[str, int, int], ...]) -> str:
    digest = hashlib.sha256()
    for name, _, _ in files:
        with Path(name).open("rb") as file:
            digest.update(hashlib.file_digest(file, "sha256").digest())
    return digest.hexdigest()[:12]


def _weights_hash(folder: str) -> str:
    paths = sorted(Path(folder).glob("*.safetensors"))
    return _hash_files(tuple((str(p), p.stat().st_size, p.stat().st_mtime_ns) for p in paths))
