"""LoRA on a CPU in a few matrix products for each layer; `serve.cpu_lora_wrapper` puts it where vLLM's own was.

vLLM's own code copies A and B once for every token, then multiplies token by token. Here
- which rows use which slot is worked out once for each batch (`Batch`), not in every layer;
- the adapters in use are kept side by side without their padding (`Packed`), until vLLM writes to its weights;
- a small batch takes one product for all adapters together, each row masked to its own; a large one takes one
  product for each run of rows with the same adapter; with one adapter there is nothing to mask or to pick;
- rows without an adapter stay as they are, and so does everything when no slot touches the layer.

Products are taken in the dtype that x and A have in common and added to y in y's dtype: a product of bfloat16
matrices adds up in float32 and is rounded once, so that a float32 buffer on the way, as vLLM has it, buys nothing.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import groupby
from typing import Any

import torch

TOGETHER = 4_000_000
"""Multiplications for each run of the batch up to which one product for all adapters beats one for each run."""


@dataclass(frozen=True)
class Run:
    """Neighbouring rows of one slot."""

    slot: int
    rows: slice


@dataclass(frozen=True)
class Batch:
    """Which slot each row uses; -1 is none."""

    slots: torch.Tensor
    runs: tuple[Run, ...]
    """All rows that have an adapter."""
    whole: int
    """The slot of all rows; -1 if they differ or have none."""
    masks: dict[tuple[Any, ...], torch.Tensor] = field(default_factory=dict)


def make_batch(slots: torch.Tensor) -> Batch:
    """Groups the rows by slot; `slots` is copied."""
    runs: list[Run] = []
    stop = 0
    for slot, rows in groupby(slots.tolist()):
        start, stop = stop, stop + len(list(rows))
        if slot >= 0:
            runs.append(Run(slot, slice(start, stop)))
    whole = runs[0].slot if len(runs) == 1 and runs[0].rows == slice(0, len(slots)) else -1
    return Batch(slots.clone(), tuple(runs), whole)


@dataclass(frozen=True)
class Packed:
    """The adapters of one layer side by side, cut to the ranks that they have."""

    spans: dict[int, tuple[int, int]]
    """First column and rank of each slot; slots that leave the layer alone are missing."""
    owners: torch.Tensor
    """The slot of each column of `a`."""
    layout: tuple[Any, ...]
    """The same for layers whose `owners` are the same."""
    a: torch.Tensor
    """(inputs, slices x columns)"""
    b: tuple[torch.Tensor, ...]
    """(columns, outputs) for each slice."""
    finite: bool
    """Otherwise the adapters must not meet in one product: NaN and infinity would spread to all rows."""


def pack(
    a_stacked: Sequence[torch.Tensor],
    b_stacked: Sequence[torch.Tensor],
    taken: Sequence[int],
    dtypes: tuple[torch.dtype, torch.dtype],
) -> Packed:
    """Packs the slots `taken` of stacks (slots, 1, rank, inputs) and (slots, 1, outputs, rank) as dtypes (A, B)."""
    spans: dict[int, tuple[int, int]] = {}
    width = 0
    for slot in taken:
        rank = max(_rank(a[slot, 0]) for a in a_stacked)
        if rank:
            spans[slot] = (width, rank)
            width += rank
    owners = torch.tensor([slot for slot, (_, rank) in spans.items() for _ in range(rank)] * len(a_stacked))
    a = torch.zeros(a_stacked[0].size(-1), len(a_stacked) * width, dtype=dtypes[0])
    b = tuple(torch.zeros(width, part.size(-2), dtype=dtypes[1]) for part in b_stacked)
    for slot, (start, rank) in spans.items():
        for number, (part_a, part_b) in enumerate(zip(a_stacked, b_stacked, strict=True)):
            a.narrow(1, number * width + start, rank).copy_(part_a[slot, 0, :rank].T)
            b[number].narrow(0, start, rank).copy_(part_b[slot, 0, :, :rank].T)
    finite = all(bool(part.isfinite().all()) for part in (a, *b))
    return Packed(spans, owners, (len(a_stacked), *spans.items()), a, b, finite)


def _rank(a: torch.Tensor) -> int:
    """Rows of A up to the last that is not all zero: vLLM fills up to its maximum rank with zeros."""
    used = a.any(dim=-1).nonzero()
    return int(used[-1]) + 1 if used.numel() else 0


def add_lora(y: torch.Tensor, x: torch.Tensor, packed: Packed, batch: Batch, scale: float) -> None:
    """y += scale * B(A(x)) on the rows that have an adapter; y is 2-D, its columns those of the slices in order."""
    if batch.whole in packed.spans:
        _add_one(y, x, packed, packed.spans[batch.whole], scale)
        return
    runs = [run for run in batch.runs if run.slot in packed.spans]
    work = x.size(0) * packed.b[0].size(0) * (x.size(1) + y.size(1))
    if runs and packed.finite and work <= TOGETHER * len(runs):
        _add_together(y, x, packed, batch, scale)
        return
    for run in runs:
        _add_one(y[run.rows], x[run.rows], packed, packed.spans[run.slot], scale)


def _add_together(y: torch.Tensor, x: torch.Tensor, packed: Packed, batch: Batch, scale: float) -> None:
    """All adapters in one product; the mask of the batch leaves each row its own."""
    shrunk = _shrink(x, packed.a).masked_fill_(_others(batch, packed), 0).to(y.dtype)
    _expand(y, shrunk, packed.b, scale)


def _add_one(y: torch.Tensor, x: torch.Tensor, packed: Packed, span: tuple[int, int], scale: float) -> None:
    """One adapter on all rows."""
    if len(packed.spans) == 1:
        _expand(y, _shrink(x, packed.a).to(y.dtype), packed.b, scale)
        return
    slices = packed.a.view(x.size(1), len(packed.b), -1).narrow(2, *span)
    shrunk = _shrink(x, slices.reshape(x.size(1), -1))
    _expand(y, shrunk.to(y.dtype), [b.narrow(0, *span) for b in packed.b], scale)


def _shrink(x: torch.Tensor, a: torch.Tensor) -> torch.Tensor:
    return torch.mm(x if x.dtype == a.dtype else x.to(a.dtype), a)


def _expand(y: torch.Tensor, shrunk: torch.Tensor, parts: Sequence[torch.Tensor], scale: float) -> None:
    """Adds each slice of `shrunk` times its B to its columns of y; either may be padded at its end."""
    offset = 0
    for number, b in enumerate(parts):
        size = min(b.size(1), y.size(1) - offset)
        mine = shrunk if len(parts) == 1 else shrunk.narrow(1, number * b.size(0), b.size(0))
        out = y if size == y.size(1) else y.narrow(1, offset, size)
        out.addmm_(mine, b if size == b.size(1) else b.narrow(1, 0, size), alpha=scale)
        offset += size


def _others(batch: Batch, packed: Packed) -> torch.Tensor:
    """True where a column belongs to another slot than the row's; layers with the same layout share it."""
    mask = batch.masks.get(packed.layout)
    if mask is None:
        mask = batch.slots[:, None] != packed.owners
        batch.masks[packed.layout] = mask
    return mask


def shrink(y: torch.Tensor, x: torch.Tensor, stacked: torch.Tensor, batch: Batch, scale: float) -> None:
    """y = scale * A(x) on the rows that have an adapter, in y's dtype; `stacked` is (slots, [1,] rank, inputs)."""
    for run in batch.runs:
        weight = stacked[run.slot].flatten(0, -2).to(y.dtype)
        y[run.rows, : weight.size(0)] = torch.nn.functional.linear(x[run.rows].to(y.dtype), weight).mul_(scale)


def expand(
    y: torch.Tensor, x: torch.Tensor, stacked: torch.Tensor, batch: Batch, offset: int = 0, add_inputs: bool = True
) -> None:
    """y += B(x), or y = B(x), on the rows that have an adapter, from column `offset` of y as far as y goes."""
    for run in batch.runs:
        weight = stacked[run.slot].flatten(0, -2)[: y.size(1) - offset].to(y.dtype)
        out = torch.nn.functional.linear(x[run.rows].to(y.dtype), weight)
        columns = slice(offset, offset + weight.size(0))
        y[run.rows, columns] = y[run.rows, columns] + out if add_inputs else out
