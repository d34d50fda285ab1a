"""An adapter whose settings name each of its modules, for a reader that runs patterns."""

import json
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from serve.adapter_files.tensor_names import TENSOR
from serve.adapter_files.weights_file import read_header
from understudy.registry.adapters import CONFIG, WEIGHTS


@contextmanager
def named_modules(folder: Path) -> Iterator[Path]:
    """Gives a folder with the same weights and settings that name the modules of its tensors; it ends with the block.

    PEFT takes `target_modules` and `exclude_modules` that are strings for regular expressions and runs them on the name
    of every module of the base: one of a stranger may never end, or leave out what there are tensors for.
    """
    header, _ = read_header(folder / WEIGHTS)
    modules = sorted({match["module"] for match in map(TENSOR.fullmatch, header) if match})
    config = json.loads((folder / CONFIG).read_bytes())
    config |= {"target_modules": modules, "exclude_modules": None, "layers_to_transform": None, "layers_pattern": None}
    with tempfile.TemporaryDirectory() as named:
        (Path(named) / WEIGHTS).symlink_to((folder / WEIGHTS).resolve())
        (Path(named) / CONFIG).write_text(json.dumps(config), encoding="utf-8")
        yield Path(named)
