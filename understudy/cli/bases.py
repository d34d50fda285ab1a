"""`understudy bases`: the bases that are known by name, and the one that comes with the packages made ready."""

import json

from rich.console import Console
from rich.table import Table

from understudy.bases import CATALOGUE, SMOLLM2, TINY, Base, KnownBase, require_base
from understudy.bases.prepare import intact
from understudy.cli.base_progress import base_progress
from understudy.config.settings import Settings

WIDE = 150
"""Columns that the catalogue takes; narrower terminals wrap its lines."""
out = Console(highlight=False, soft_wrap=True, width=WIDE)
console = Console(stderr=True, highlight=False, soft_wrap=True)


def show_bases(settings: Settings, *, json_output: bool) -> None:
    """Prints the catalogue: name, size, licence, memory, origin, and whether the base is on this machine."""
    rows = [
        {**entry.model_dump(), "memory_gib": round(entry.memory_gib, 1), "here": _here(settings, entry)}
        for entry in CATALOGUE
    ]
    if json_output:
        print(json.dumps(rows))
        return
    table = Table(box=None, pad_edge=False)
    for header in ("base", "weights", "memory", "here", "licence"):
        table.add_column(header, no_wrap=True)
    table.add_column("from", no_wrap=True)
    for entry, row in zip(CATALOGUE, rows, strict=True):
        size = f"{entry.parameters / 1e9:.1f} B" if entry.parameters >= 5e8 else f"{entry.parameters / 1e6:.0f} M"
        here = "yes" if row["here"] else "no"
        origin = f"{entry.origin}; {entry.note}" if entry.note else entry.origin
        table.add_row(entry.name, size, f"{entry.memory_gib:.1f} GiB", here, entry.licence, origin)
    out.print(table)
    out.print("\nAny causal language model with a chat template will do, by Hub id or folder: UNDERSTUDY_BASE=…")


def prepare_base(name: str) -> Base:
    """The base of that name, ready to be used, with a progress bar while it is prepared. Raises BaseModelError."""
    with base_progress(console) as on_progress:
        return require_base(name, on_progress)


def _here(settings: Settings, entry: KnownBase) -> bool:
    if entry.name == TINY:
        return True
    if entry.name == SMOLLM2:
        return intact(settings.bases_dir / SMOLLM2)
    from huggingface_hub import try_to_load_from_cache

    return isinstance(try_to_load_from_cache(entry.name, "config.json"), str)
