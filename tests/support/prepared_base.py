"""A stand-in for the prepared `smollm2`, for tests in which nobody asks it anything."""

import hashlib
import shutil
from pathlib import Path

from understudy.bases import SMOLLM2, TINY_DIR
from understudy.bases.prepare import LAYOUT, MANIFEST, Manifest


def stand_in(bases_dir: Path) -> Path:
    """Prepares `smollm2` in `bases_dir` with the tiny base's files."""
    folder = bases_dir / SMOLLM2
    shutil.copytree(TINY_DIR, folder)
    files = {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in folder.iterdir()}
    manifest = Manifest(layout=LAYOUT, source="tests", licence="Apache-2.0", files=files, seen={})
    (folder / MANIFEST).write_text(manifest.model_dump_json())
    return folder
