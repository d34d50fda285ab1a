"""Adapters: PEFT LoRA folders, which of their files are kept, and the revision that names their content."""

import contextlib
import hashlib
import json
import re
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from understudy.errors import AdapterError
from understudy.registry.found_files import CONFIG as CONFIG
from understudy.registry.found_files import WEIGHTS as WEIGHTS
from understudy.registry.found_files import missing_files

CARD = "persona.json"
KEPT = re.compile(
    r"(adapter_config\.json|adapter_model\.safetensors|README\.md|training\.json|persona\.json|"
    r"tokenizer\.json|tokenizer_config\.json|special_tokens_map\.json|chat_template\.jinja)"
)
"""No other file of a folder (pickles, code, checkpoints) is copied."""

COMMIT = re.compile(r"[0-9a-f]{40}")
"""A commit of the Hub. Local revisions have 64 hex digits, so the two never collide."""

SHORT = 12
"""Hex digits of a revision that are shown to users."""


def short(revision: str) -> str:
    """The revision in the form that users see."""
    return revision[:SHORT]


def read_config(folder: Path) -> dict[str, Any]:
    """The adapter's PEFT configuration.

    Raises:
        AdapterError: the folder has no adapter in safetensors form, or its configuration is not JSON.
    """
    if missing := missing_files(folder):
        raise AdapterError(missing)
    try:
        config = json.loads((folder / CONFIG).read_text(encoding="utf-8"))
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise AdapterError(f"{folder / CONFIG}: not JSON: {error}") from None
    if not isinstance(config, dict):
        raise AdapterError(f"{folder / CONFIG}: found a JSON {type(config).__name__}, not an object")
    return config


def kept_files(folder: Path) -> list[Path]:
    """The files of an adapter folder that make up the revision: plain files at its top level, by name."""
    return sorted(p for p in folder.iterdir() if p.is_file() and not p.is_symlink() and KEPT.fullmatch(p.name))


def content_revision(folder: Path) -> str:
    """SHA-256 (64 hex digits) over the names and contents of the kept files.

    Raises:
        AdapterError: as `read_config`.
    """
    read_config(folder)
    digest = hashlib.sha256()
    for path in kept_files(folder):
        with path.open("rb") as file:
            digest.update(f"{path.name}\0{hashlib.file_digest(file, 'sha256').hexdigest()}\n".encode())
    return digest.hexdigest()


def store_adapter(folder: Path, store_dir: Path) -> tuple[str, Path]:
    """Copy an adapter into the content-addressed store, atomically; return its revision and path.

    The same content is stored once. An interrupted copy leaves nothing under that name.
    """
    revision = content_revision(folder)
    target = store_dir / revision
    if target.is_dir():
        return revision, target
    with _incoming(target) as staging:
        for path in kept_files(folder):
            shutil.copyfile(path, staging / path.name)
        if content_revision(staging) != revision:
            raise AdapterError(f"{folder}: its files changed while they were copied; push it again")
    return revision, target


def store_snapshot(snapshot: Path, commit: str, store_dir: Path) -> Path:
    """Copy a commit that the Hub's client has downloaded into the store, atomically, under the commit's id.

    The client keeps a snapshot as links to its blobs; these, and no other links, are followed. Later changes of the
    client's cache do not affect the store.

    Raises:
        AdapterError: `commit` is not a commit id, or `snapshot` holds no adapter.
    """
    if not COMMIT.fullmatch(commit):
        raise AdapterError(f"{commit!r:.80} is no commit; the Hub names them with 40 hex digits")
    target = store_dir / commit
    if target.is_dir():
        return target
    read_config(snapshot)
    with _incoming(target) as staging:
        for path in sorted(p for p in snapshot.iterdir() if KEPT.fullmatch(p.name) and p.is_file()):
            if path.is_symlink() and not in_hub_cache(path):
                raise AdapterError(f"{path.name} is a link to another place; push the file itself")
            shutil.copyfile(path, staging / path.name)
    return target


def in_hub_cache(path: Path) -> bool:
    """Whether a link was made by the Hub's client, which keeps snapshots/<commit>/<name> as links to files in blobs/ of
    the same repository, and these, since huggingface_hub 2, as links to files in blobs/ of the whole cache."""
    snapshot = path.absolute().parent
    repo, real = snapshot.parent.parent, path.resolve()
    shared = (repo.parent / "blobs").resolve()
    return snapshot.parent.name == "snapshots" and (real.parent == (repo / "blobs").resolve() or shared in real.parents)


@contextlib.contextmanager
def _incoming(target: Path) -> Iterator[Path]:
    """A folder that becomes `target` when the block ends well, and is deleted when it does not."""
    target.parent.mkdir(parents=True, exist_ok=True)
    staging = Path(tempfile.mkdtemp(prefix=".incoming-", dir=target.parent))
    try:
        yield staging
        staging.chmod(0o755)
        try:
            staging.rename(target)
        except OSError:
            if not target.is_dir():
                raise
    finally:
        shutil.rmtree(staging, ignore_errors=True)
