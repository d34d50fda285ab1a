"""Replaces vLLM's CPU wrapper of LoRA; only vLLM's worker imports it, through `plugin`."""

from collections.abc import Sequence
from typing import Any

import torch
from vllm import _custom_ops
from vllm.lora.punica_wrapper.punica_cpu import PunicaWrapperCPU

from serve.engine.cpu_lora.kernels import LoraBatch, Packed, Product, add_lora, expand, make_batch, pack, shrink

KERNELS = 64
"""Row counts for which oneDNN keeps kernels of a weight."""


class GroupedPunicaWrapper(PunicaWrapperCPU):
    """Replaces vLLM's `PunicaWrapperCPU`; each method keeps its contract.

    It differs on rows without an adapter: vLLM's own gives them the weights of its last slot as soon as another
    row of the batch has an adapter; here they stay as the base left them.
    """

    def __init__(
        self, max_num_batched_tokens: int, max_batches: int, device: torch.device | str, **kwargs: Any
    ) -> None:
        super().__init__(max_num_batched_tokens, max_batches, device, **kwargs)
        none = make_batch(torch.empty(0, dtype=torch.long))
        self._tokens, self._requests = none, none
        self._taken: tuple[int, ...] = ()
        # The values keep the stacks alive, so that no other object gets their ids.
        self._empty: dict[int, tuple[int, torch.Tensor, bool]] = {}
        self._packed: dict[int, tuple[tuple[Any, ...], Sequence[torch.Tensor], Packed]] = {}

    def update_metadata(
        self, mapping: Any, lora_index_to_id: list[int | None], max_loras: int, vocab_size: int, **kwargs: Any
    ) -> None:
        super().update_metadata(mapping, lora_index_to_id, max_loras, vocab_size, **kwargs)
        self._taken = tuple(slot for slot, lora in enumerate(lora_index_to_id) if lora is not None)
        self._tokens = make_batch(self.token_lora_indices)
        same = torch.equal(self.token_lora_indices, self.sampler_indices)
        self._requests = self._tokens if same else make_batch(self.sampler_indices)

    def add_shrink(
        self,
        y: tuple[torch.Tensor, ...] | torch.Tensor,
        x: torch.Tensor,
        lora_a_stacked: tuple[torch.Tensor, ...],
        scale: float,
        **kwargs: Any,
    ) -> None:
        x = x.view(-1, x.shape[-1])
        for out, stacked in zip(y, lora_a_stacked, strict=False):
            shrink(out.view(-1, out.shape[-1]), x, stacked, self._tokens, scale)

    def add_expand(
        self,
        y: torch.Tensor,
        x: tuple[torch.Tensor, ...] | torch.Tensor,
        lora_b_stacked: tuple[torch.Tensor, ...],
        output_slices: tuple[int, ...],
        offset_start: int = 0,
        add_inputs: bool = True,
        **kwargs: Any,
    ) -> None:
        y = y.view(-1, y.shape[-1])
        for part, stacked, size in zip(x, lora_b_stacked, output_slices, strict=False):
            expand(y, part, stacked, self._tokens, offset_start, add_inputs)
            offset_start += size

    def add_lora_embedding(
        self, y: torch.Tensor, x: torch.Tensor, lora_b_stacked: torch.Tensor, add_inputs: bool = True, **kwargs: Any
    ) -> None:
        if not (add_inputs and self._idle(lora_b_stacked)):
            expand(y, x, lora_b_stacked, self._tokens, 0, add_inputs)

    def add_lora_linear(
        self,
        y: torch.Tensor,
        x: torch.Tensor,
        lora_a_stacked: tuple[torch.Tensor, ...],
        lora_b_stacked: tuple[torch.Tensor, ...],
        scale: float,
        output_slices: tuple[int, ...],
        *,
        buffer: tuple[torch.Tensor, ...] | None = None,
        **kwargs: Any,
    ) -> None:
        if buffer is None and lora_a_stacked[0].is_inference():  # writes to it cannot be detected: no packing
            buffer = tuple(x.new_zeros(len(x), b.size(-1), dtype=torch.float32) for b in lora_b_stacked)
        if buffer is not None:
            self.add_shrink(buffer, x, lora_a_stacked, scale)
            self.add_expand(y, buffer, lora_b_stacked, output_slices)
        else:
            self._add(y, x, lora_a_stacked, lora_b_stacked, scale, self._tokens)

    def add_lora_logits(
        self,
        y: torch.Tensor,
        x: torch.Tensor,
        lora_a_stacked: torch.Tensor,
        lora_b_stacked: torch.Tensor,
        scale: float,
        *,
        buffer: torch.Tensor | None = None,
        **kwargs: Any,
    ) -> None:
        self._add(y, x, (lora_a_stacked,), (lora_b_stacked,), scale, self._requests)

    def apply_lora_full_linear(
        self,
        y: torch.Tensor,
        x: torch.Tensor,
        weight_stacked: torch.Tensor,
        bias_stacked: torch.Tensor,
        module_enabled: torch.Tensor,
    ) -> None:
        adapter_y = torch.zeros((x.size(0), weight_stacked.size(-2)), dtype=torch.float32, device=x.device)
        shrink(adapter_y, x, weight_stacked, self._requests, 1.0)
        y.copy_(self._select_full_linear_output(y, adapter_y, bias_stacked, module_enabled))

    def _add(
        self,
        y: torch.Tensor,
        x: torch.Tensor,
        a_stacked: tuple[torch.Tensor, ...],
        b_stacked: tuple[torch.Tensor, ...],
        scale: float,
        batch: LoraBatch,
    ) -> None:
        if batch.groups:
            packed = self._pack(a_stacked, b_stacked, x.dtype, y.dtype)
            add_lora(_flat(y), _flat(x), packed, batch, scale)

    def _idle(self, stacked: torch.Tensor) -> bool:
        """Whether no adapter has weights here; checked again when vLLM has written to the stack."""
        if stacked.is_inference():  # writes to it cannot be detected
            return False
        known = self._empty.get(id(stacked))
        if known is None or known[0] != stacked._version:
            known = self._empty[id(stacked)] = (stacked._version, stacked, not bool(stacked.any()))
        return known[2]

    def _pack(
        self,
        a_stacked: tuple[torch.Tensor, ...],
        b_stacked: tuple[torch.Tensor, ...],
        x_dtype: torch.dtype,
        y_dtype: torch.dtype,
    ) -> Packed:
        """Returns the layer's packed adapters, packed again after vLLM wrote to a stack or reassigned a slot."""
        written = 0
        for stack in a_stacked:
            written += stack._version
        for stack in b_stacked:
            written += stack._version
        state = (self._taken, x_dtype, y_dtype, written)
        known = self._packed.get(id(a_stacked[0]))
        if known is None or known[0] != state:
            dtypes = (torch.promote_types(x_dtype, a_stacked[0].dtype), y_dtype)
            stacks = (*a_stacked, *b_stacked)
            known = (state, stacks, pack(a_stacked, b_stacked, self._taken, dtypes, prepared))
            self._packed[id(a_stacked[0])] = known
        return known[2]


def prepared(weight: torch.Tensor) -> Product:
    """Returns the product that vLLM uses for the base: oneDNN keeps the weight in the layout of its kernels."""
    if not _custom_ops._supports_onednn:
        return lambda out, x: torch.mm(x, weight, out=out)
    handler = _custom_ops.create_onednn_mm(weight, KERNELS)
    multiply, number = torch.ops._C.onednn_mm.default, handler.handler_tensor
    return lambda out, x, alive=handler: multiply(out, x, None, number)


def _flat(tensor: torch.Tensor) -> torch.Tensor:
    return tensor if tensor.dim() == 2 else tensor.view(-1, tensor.shape[-1])
