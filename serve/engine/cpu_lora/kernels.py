"""LoRA on a CPU in a few matrix products for each layer; `punica_wrapper` calls it in place of vLLM's own.

vLLM's own code copies A and B once for every token, then multiplies token by token. Here
- which rows use which slot is computed once for each batch (`LoraBatch`), not in every layer;
- adapters are kept without their padding (`Packed`), until vLLM writes to its weights;
- where rows of one adapter lie one after the other, as those of a prompt do, they are multiplied where they lie: one
  product for A and one for each slice of B, added to the base's;
- with few rows, as when tokens are generated, all adapters of the layer are taken together: their As side by side in
  one product, each row masked to its own, and one product for each slice. At this size a product costs what reading
  its weights costs, and they are read as they lie, in the order in which the processor's kernels want them;
- otherwise rows are sorted by adapter, and each adapter multiplies its own;
- rows without an adapter stay as they are, and so does everything when no slot touches the layer.

Products are taken in the dtype that x and A have in common and added to y in y's dtype: a product of bfloat16
matrices adds up in float32 and is rounded once, so that a float32 buffer on the way, as vLLM has it, buys nothing.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cache, cached_property
from itertools import accumulate, groupby, pairwise

import torch

FEW = 48
"""Number of rows up to which weights are multiplied as they lie prepared. PyTorch's product of bfloat16 matrices takes
25 us before it computes anything (torch 2.13), a prepared one 4: with few rows that is more than the product itself."""

LONG = 16
"""Rows that runs of one adapter have on average from which they are taken where they lie."""

WORTH = 2**19
"""Numbers of other adapters that are read in the time that one adapter's own products, of its own rows, take longer."""

MOST_ZEROS = 2**16
"""Numbers that are read more quickly than another product begins."""

Product = Callable[[torch.Tensor, torch.Tensor], object]
"""Called with (out, x): out = x @ weight, out being contiguous."""

Prepare = Callable[[torch.Tensor], Product]
"""From a weight (inputs, outputs) to its product."""


@dataclass(frozen=True)
class Group:
    """Rows of one slot."""

    slot: int
    rows: slice


@dataclass(frozen=True)
class LoraBatch:
    """The slot that each row uses; -1 for none."""

    slots: torch.Tensor
    groups: tuple[Group, ...]
    """All rows of each slot, as parts of `order`."""
    order: torch.Tensor
    """The rows that have an adapter, sorted by slot."""
    places: torch.Tensor
    """Where each row is in `order`; its length for rows without an adapter."""
    runs: tuple[Group, ...]
    """Rows of one slot that lie one after the other, if such runs are long or one has all rows; else none."""
    buffers: dict["Layout", "LayoutBuffers | None"] = field(default_factory=dict)

    def buffers_for(self, layout: "Layout") -> "LayoutBuffers | None":
        """Buffers to compute all adapters of a layer together; None where that would be slower."""
        if layout not in self.buffers:
            slots = {group.slot for group in self.groups}
            used = [rank for slot, rank in layout.ranks if slot in slots]
            unused = layout.numbers(sum(rank for _, rank in layout.ranks) - sum(used))
            pays = len(self.slots) <= FEW and len(used) > 0 and unused <= len(used) * WORTH
            self.buffers[layout] = _layout_buffers(layout, self.slots) if pays else None
        return self.buffers[layout]


def make_batch(slots: torch.Tensor) -> LoraBatch:
    """Groups the rows by slot; `slots` is copied."""
    order = [row for slot, row in sorted((slot, row) for row, slot in enumerate(slots.tolist())) if slot >= 0]
    groups = _runs(slots[order].tolist())
    places = torch.full((len(slots),), len(order))
    places[order] = torch.arange(len(order))
    runs = _runs(slots.tolist())
    long = len(order) >= LONG * len(runs) or (len(runs) == 1 and len(order) == len(slots))
    order = torch.tensor(order, dtype=torch.long)
    return LoraBatch(slots.clone(), groups, order, places, runs if long else ())


def _runs(slots: Sequence[int]) -> tuple[Group, ...]:
    """Equal slots that follow each other, without -1."""
    found, stop = [], 0
    for slot, rows in groupby(slots):
        start, stop = stop, stop + len(list(rows))
        found.append(Group(slot, slice(start, stop)))
    return tuple(group for group in found if group.slot >= 0)


@dataclass(frozen=True)
class SlotAdapter:
    """One slot's adapter of one layer, cut to the rank that it has."""

    a: torch.Tensor
    """(inputs, slices x rank)"""
    b: tuple[torch.Tensor, ...]
    """(rank, outputs) for each slice."""
    prepare: Prepare

    @property
    def rank(self) -> int:
        return self.b[0].size(0)

    @cached_property
    def few(self) -> tuple[Product, tuple["Expand", ...]]:
        """The products for few rows, prepared when such rows first use the adapter: with A, and those with B.

        B is taken as one block-diagonal matrix as long as reading its zeros costs less than another product.
        """
        sizes, rank = [part.size(1) for part in self.b], self.rank
        starts = [0, *accumulate(sizes)]
        if rank * sum(sizes) * (len(sizes) - 1) <= MOST_ZEROS:
            whole = torch.block_diag(*self.b).to(self.a.dtype)
            return self.prepare(self.a), (Expand(self.prepare(whole), 0, len(sizes) * rank, 0, starts[-1]),)
        parts = enumerate(zip(self.b, starts, sizes, strict=False))
        each = (Expand(self.prepare(b), n * rank, rank, start, size) for n, (b, start, size) in parts)
        return self.prepare(self.a), tuple(each)


@dataclass(frozen=True, slots=True)
class Expand:
    """A product with B, or a part of it: from columns of A's product to columns of y."""

    multiply: Product
    first: int
    count: int
    start: int
    size: int


@dataclass(frozen=True, eq=False)
class Layout:
    """The shapes of a layer's adapters; layers of equal shapes share one layout."""

    ranks: tuple[tuple[int, int], ...]
    """Slot and rank of each adapter."""
    inputs: int
    outputs: tuple[int, ...]
    """Of each slice."""
    dtype: torch.dtype

    def numbers(self, rank: int) -> int:
        """How many numbers an adapter of this rank has."""
        return rank * (len(self.outputs) * self.inputs + sum(self.outputs))


@dataclass(frozen=True)
class LayoutBuffers:
    """What a batch needs for every layer of a layout: which columns are a row's own, and buffers to compute in."""

    own: torch.Tensor
    """(rows, slices x columns): 1 where the column belongs to the row's slot, else 0."""
    shrunk: torch.Tensor
    """A buffer of that shape."""
    parts: tuple[torch.Tensor, ...]
    """`shrunk` by slices."""
    deltas: tuple[torch.Tensor, ...]
    """Buffers (rows, outputs) of each slice; slices of one size share one, which is in the cache when it is added."""


@dataclass(frozen=True)
class Packed:
    """The adapters of one layer."""

    adapters: dict[int, SlotAdapter]
    """By slot; those that leave the layer alone are missing."""
    layout: Layout
    a: Product | None
    """Of all adapters side by side; None where they must not be computed together: NaN and infinity would spread to all
    rows."""
    b: tuple[Product, ...]
    """Of all adapters one below the other, for each slice."""


def pack(
    a_stacked: Sequence[torch.Tensor],
    b_stacked: Sequence[torch.Tensor],
    taken: Sequence[int],
    dtypes: tuple[torch.dtype, torch.dtype],
    prepare: Prepare,
) -> Packed:
    """Packs the slots `taken` of stacks (slots, 1, rank, inputs) and (slots, 1, outputs, rank) as dtypes (A, B)."""
    adapters = {slot: found for slot in taken if (found := _adapter(a_stacked, b_stacked, slot, dtypes, prepare)).rank}
    outputs = tuple(part.size(-2) for part in b_stacked)
    ranks = tuple((slot, adapter.rank) for slot, adapter in adapters.items())
    layout = _layout(ranks, a_stacked[0].size(-1), outputs, dtypes[0])
    weights = [weight for adapter in adapters.values() for weight in (adapter.a, *adapter.b)]
    if not adapters or dtypes[0] != dtypes[1] or not all(bool(weight.isfinite().all()) for weight in weights):
        return Packed(adapters, layout, None, ())
    slices = range(len(outputs))
    a = [adapter.a.narrow(1, n * adapter.rank, adapter.rank) for n in slices for adapter in adapters.values()]
    b = [torch.cat([adapter.b[n] for adapter in adapters.values()]) for n in slices]
    return Packed(adapters, layout, prepare(torch.cat(a, dim=1)), tuple(prepare(part) for part in b))


@cache
def _layout(ranks: tuple[tuple[int, int], ...], inputs: int, outputs: tuple[int, ...], dtype: torch.dtype) -> Layout:
    """Returns one object for equal layouts, so that it is found by identity."""
    return Layout(ranks, inputs, outputs, dtype)


def _adapter(
    a_stacked: Sequence[torch.Tensor],
    b_stacked: Sequence[torch.Tensor],
    slot: int,
    dtypes: tuple[torch.dtype, torch.dtype],
    prepare: Prepare,
) -> SlotAdapter:
    rank = max(_rank(a[slot, 0]) for a in a_stacked)
    a = torch.cat([part[slot, 0, :rank] for part in a_stacked]).T.to(dtypes[0]).contiguous()
    # A copy whatever the dtype: vLLM may write to its own while a batch is computed with ours.
    b = tuple(part[slot, 0, :, :rank].T.to(dtypes[1], copy=True).contiguous() for part in b_stacked)
    return SlotAdapter(a, b, prepare)


def _rank(a: torch.Tensor) -> int:
    """Rows of A up to the last that is not all zero: vLLM fills up to its maximum rank with zeros."""
    used = a.any(dim=-1).nonzero()
    return int(used[-1]) + 1 if used.numel() else 0


def add_lora(y: torch.Tensor, x: torch.Tensor, packed: Packed, batch: LoraBatch, scale: float) -> None:
    """y += scale * B(A(x)) on the rows that have an adapter; y is 2-D, its columns those of the slices in order."""
    if batch.runs:
        for run in batch.runs:
            if run.slot in packed.adapters:
                _add_one(y[run.rows], x[run.rows], packed.adapters[run.slot], scale)
        return
    buffers = batch.buffers_for(packed.layout)
    if buffers is not None and packed.a is not None:
        _add_together(y, x, packed.a, packed, buffers, scale)
    else:
        _add_sorted(y, x, packed, batch, scale)


def _add_one(y: torch.Tensor, x: torch.Tensor, adapter: SlotAdapter, scale: float, *, keep: float = 1.0) -> None:
    """One adapter on all rows: y = keep * y + scale * B(A(x)); with `keep` 0, y may hold anything before."""
    if x.size(0) <= FEW and x.dtype is y.dtype is adapter.a.dtype is torch.bfloat16:
        _add_few(y, x, adapter, scale, keep=keep)
        return
    shrunk = _as(torch.mm(_as(x, adapter.a.dtype), adapter.a), y.dtype)
    parts = _slices(y, tuple(b.size(1) for b in adapter.b))
    for number, (part, b) in enumerate(zip(parts, adapter.b, strict=True)):
        mine = shrunk if len(adapter.b) == 1 else shrunk.narrow(1, number * adapter.rank, adapter.rank)
        part.addmm_(mine, b if part.size(1) == b.size(1) else b[:, : part.size(1)], beta=keep, alpha=scale)


def _add_few(y: torch.Tensor, x: torch.Tensor, adapter: SlotAdapter, scale: float, *, keep: float) -> None:
    """`_add_one` by prepared products."""
    shrink_all, expands = adapter.few
    rows, columns = x.size(0), y.size(1)
    shrunk = adapter.a.new_empty((rows, adapter.a.size(1)))
    shrink_all(shrunk, x)
    for part in expands:
        mine = shrunk if len(expands) == 1 else shrunk.narrow(1, part.first, part.count)
        delta = y.new_empty((rows, part.size))
        part.multiply(delta, mine)
        width = min(part.size, columns - part.start)
        out = y if width == columns else y.narrow(1, part.start, width)
        delta = delta if width == part.size else delta.narrow(1, 0, width)
        if keep:
            out.add_(delta, alpha=scale)
        else:
            torch.mul(delta, scale, out=out)


def _add_together(
    y: torch.Tensor, x: torch.Tensor, a: Product, packed: Packed, buffers: LayoutBuffers, scale: float
) -> None:
    """All adapters in one product; each row keeps its own columns."""
    a(buffers.shrunk, _as(x, packed.layout.dtype))
    buffers.shrunk.mul_(buffers.own)
    parts = _slices(y, packed.layout.outputs)
    for part, delta, mine, b in zip(parts, buffers.deltas, buffers.parts, packed.b, strict=True):
        b(delta, mine)
        part.add_(delta if part.size(1) == delta.size(1) else delta[:, : part.size(1)], alpha=scale)


def _layout_buffers(layout: Layout, slots: torch.Tensor) -> LayoutBuffers:
    owners = torch.tensor([slot for slot, rank in layout.ranks for _ in range(rank)] * len(layout.outputs))
    own = (slots[:, None] == owners).to(layout.dtype)
    shrunk = torch.empty_like(own)
    parts = shrunk.chunk(len(layout.outputs), dim=1)
    deltas = {size: own.new_empty(len(own), size) for size in layout.outputs}
    return LayoutBuffers(own, shrunk, parts, tuple(deltas[size] for size in layout.outputs))


def _add_sorted(y: torch.Tensor, x: torch.Tensor, packed: Packed, batch: LoraBatch, scale: float) -> None:
    """Computes each adapter on its own rows, which are gathered and scattered back."""
    if not any(group.slot in packed.adapters for group in batch.groups):
        return
    gathered = x.index_select(0, batch.order)
    width = min(sum(packed.layout.outputs), y.size(1))
    deltas = y.new_empty(len(gathered) + 1, width)
    deltas[-1] = 0  # of rows without an adapter
    for group in batch.groups:
        if group.slot in packed.adapters:
            _add_one(deltas[group.rows], gathered[group.rows], packed.adapters[group.slot], scale, keep=0.0)
        else:
            deltas[group.rows] = 0
    (y if width == y.size(1) else y[:, :width]).add_(deltas.index_select(0, batch.places))


def _slices(y: torch.Tensor, sizes: tuple[int, ...]) -> tuple[torch.Tensor, ...]:
    """The columns of y of each slice; the last may be cut off, and y may be padded at its end."""
    if sum(sizes) == y.size(1):
        return (y,) if len(sizes) == 1 else torch.split_with_sizes(y, sizes, 1)
    stops = [min(stop, y.size(1)) for stop in accumulate(sizes)]
    return tuple(y[:, start:stop] for start, stop in pairwise([0, *stops]))


def _as(tensor: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    return tensor if tensor.dtype == dtype else tensor.to(dtype)


def shrink(y: torch.Tensor, x: torch.Tensor, stacked: torch.Tensor, batch: LoraBatch, scale: float) -> None:
    """y = scale * A(x) on the rows that have an adapter, in y's dtype; `stacked` is (slots, [1,] rank, inputs)."""
    for group in batch.groups:
        rows = batch.order[group.rows]
        weight = stacked[group.slot].flatten(0, -2).to(y.dtype)
        y[rows, : weight.size(0)] = torch.nn.functional.linear(x[rows].to(y.dtype), weight).mul_(scale)


def expand(
    y: torch.Tensor, x: torch.Tensor, stacked: torch.Tensor, batch: LoraBatch, offset: int = 0, add_inputs: bool = True
) -> None:
    """y += B(x), or y = B(x), on the rows that have an adapter, from column `offset` of y as far as y goes."""
    for group in batch.groups:
        rows = batch.order[group.rows]
        weight = stacked[group.slot].flatten(0, -2)[: y.size(1) - offset].to(y.dtype)
        out = torch.nn.functional.linear(x[rows].to(y.dtype), weight)
        columns = slice(offset, offset + weight.size(0))
        y[rows, columns] = y[rows, columns] + out if add_inputs else out
