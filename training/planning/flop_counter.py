"""Operations and bytes of a network's training step, counted on torch's meta device."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import FlopCounterMode

Forward = Callable[[int], Tensor]
"""Computes a network for so many samples."""


def operations(model: nn.Module, forward: Forward) -> int:
    """Floating-point operations of a forward and backward pass of one sample."""
    model.zero_grad(set_to_none=True)
    # The counter keeps tensors, so it must not run while bytes are counted.
    with FlopCounterMode(display=False) as counter, _fused_attention():
        _backward(forward(1))
    model.zero_grad(set_to_none=True)
    return int(counter.get_total_flops())


def forward_operations(forward: Forward) -> int:
    """Floating-point operations of a forward pass of one sample."""
    with FlopCounterMode(display=False) as counter, torch.no_grad(), _fused_attention():
        forward(1)
    return int(counter.get_total_flops())


def activations(model: nn.Module, forward: Forward) -> float:
    """Bytes that one sample needs at most in a forward and backward pass, without gradients."""
    return (_peak(model, forward, 3) - _peak(model, forward, 1)) / 2


def _peak(model: nn.Module, forward: Forward, count: int) -> int:
    trained = [p for p in model.parameters() if p.requires_grad]
    hooks = [p.register_post_accumulate_grad_hook(_drop_gradient) for p in trained]
    with _PeakMemory(model) as memory, _fused_attention():
        _backward(forward(count))
    for hook in hooks:
        hook.remove()
    peak: int = memory.peak
    return peak


def _backward(out: Tensor) -> None:
    out.float().mean().backward()


def _drop_gradient(parameter: Tensor) -> None:
    parameter.grad = None


@contextmanager
def _fused_attention() -> Iterator[None]:
    """Attention as accelerators compute it, without the matrix of scores that meta would keep.

    Autograd computes checkpointed layers again on threads of its own, where torch's modes do not
    reach; so the function itself is exchanged while we count.
    """
    plain = F.scaled_dot_product_attention

    def fused(query: Tensor, key: Tensor, value: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        if args or kwargs:
            return plain(query, key, value, *args, **kwargs)
        out: Tensor = torch.ops.aten._scaled_dot_product_flash_attention(query, key, value)[0]
        return out

    F.scaled_dot_product_attention = fused
    try:
        yield
    finally:
        F.scaled_dot_product_attention = plain


class _PeakMemory(TorchDispatchMode):
    """Bytes of the tensors that live at the same time, at most, besides a model's weights."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.peak = 0
        self._now = 0
        self._seen = {p.untyped_storage()._cdata for p in model.parameters()}

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Any = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        out = func(*args, **(kwargs or {}))
        for leaf in tree_leaves(out):
            if isinstance(leaf, Tensor):
                self._count(leaf.untyped_storage())
        return out

    def _count(self, storage: torch.UntypedStorage) -> None:
        key, size = storage._cdata, storage.nbytes()
        if key in self._seen:
            return
        self._seen.add(key)
        self._now += size
        self.peak = max(self.peak, self._now)
        weakref.finalize(storage, self._forget, key, size)

    def _forget(self, key: int, size: int) -> None:
        self._seen.discard(key)
        self._now -= size
