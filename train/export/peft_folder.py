"""Writes an adapter as plain PEFT loads it: safetensors and a configuration that names the base by its public id."""

from pathlib import Path

from train.hub.release import read_release
from understudy.registry.adapters import CONFIG, WEIGHTS


def write_peft(adapter: Path, out: Path) -> None:
    """Writes the two files to the folder `out`. Raises AdapterError: its base has no public name."""
    files = read_release(adapter).files
    for name in (CONFIG, WEIGHTS):
        content = files[name]
        (out / name).write_bytes(content if isinstance(content, bytes) else content.read_bytes())
