"""Operations and bytes of a training step, counted on torch's meta device."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Hashable, Iterator, Mapping
from contextlib import contextmanager
from functools import cache
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import TreeSpec, tree_flatten, tree_leaves, tree_unflatten
from torch.utils.flop_counter import FlopCounterMode, flop_registry

Forward = Callable[[int], Tensor]
"""Computes a network for so many samples."""


def forward_operations(forward: Forward) -> int:
    """Floating-point operations of a forward pass of one sample."""
    with FlopCounterMode(display=False) as counter, torch.no_grad(), fused_attention():
        forward(1)
    return int(counter.get_total_flops())


class _KnownResult(NamedTuple):
    """The result of an operation without its content."""

    spec: TreeSpec
    leaves: tuple[Any, ...]
    flops: int


class StepCounter(TorchDispatchMode):
    """Counts the operations of a step, and the bytes that live at the same time, at most.

    An operation whose shapes were seen before is not worked out again: its result is made from
    what is known, which takes a fraction of the time. Only tensors on the meta device count.

    Args:
        model: its weights are not counted.
        known: results by operation and shapes, shared by the counters of one model.
    """

    def __init__(self, model: nn.Module, known: dict[Hashable, _KnownResult]) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.flops = 0
        self.peak = 0
        self._now = 0
        self._known = known
        self._seen = {p.untyped_storage()._cdata for p in model.parameters()}

    def forget_peak(self) -> None:
        """Count the peak from here on, beginning with what is there."""
        self.peak = self._now

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Any = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        key = _key(func, args, kwargs)
        known = self._known.get(key) if key is not None else None
        if known is None:
            out = func(*args, **kwargs)
            leaves, spec = tree_flatten(out)
            flops = _flops(func, args, kwargs, out) if any(map(_is_meta, leaves)) else 0
            if key is not None and _is_fresh(leaves, args, kwargs):
                self._known[key] = _KnownResult(spec, tuple(map(_described, leaves)), flops)
        else:
            leaves = [_made(leaf) for leaf in known.leaves]
            out = tree_unflatten(leaves, known.spec)
            flops = known.flops
        self.flops += flops
        for leaf in leaves:
            if _is_meta(leaf):
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


@contextmanager
def gradients_dropped(model: nn.Module) -> Iterator[None]:
    """Let every gradient go as soon as it is whole; they are counted by the weights' size."""
    trained = [p for p in model.parameters() if p.requires_grad]
    hooks = [p.register_post_accumulate_grad_hook(_drop_gradient) for p in trained]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()


def _drop_gradient(parameter: Tensor) -> None:
    parameter.grad = None


@contextmanager
def fused_attention() -> Iterator[None]:
    """Attention as accelerators compute it, without the matrix of scores that meta would keep.

    Autograd computes checkpointed layers again on threads of its own, where torch's function modes
    do not reach; so the function itself is exchanged while we count.
    """
    plain = F.scaled_dot_product_attention

    def fused(query: Tensor, key: Tensor, value: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        if args or kwargs or not query.is_meta:
            return plain(query, key, value, *args, **kwargs)
        out: Tensor = torch.ops.aten._scaled_dot_product_flash_attention(query, key, value)[0]
        return out

    F.scaled_dot_product_attention = fused
    try:
        yield
    finally:
        F.scaled_dot_product_attention = plain


def _flops(func: Any, args: Any, kwargs: Mapping[str, Any], out: Any) -> int:
    formula = flop_registry.get(func._overloadpacket)
    return int(formula(*args, **kwargs, out_val=out)) if formula else 0


def _key(func: Any, args: Any, kwargs: Mapping[str, Any]) -> Hashable | None:
    """Operation and shapes; None where the result has to do with more than these."""
    if _aliases(func):
        return None
    key = (func, *map(_described, args), *((k, _described(v)) for k, v in kwargs.items()))
    try:
        hash(key)
    except TypeError:
        return None
    return key


@cache
def _aliases(func: Any) -> bool:
    """Return whether an operation writes into its arguments, or returns views of them."""
    schema = func._schema
    return any(part.alias_info is not None for part in (*schema.arguments, *schema.returns))


def _is_fresh(leaves: list[Any], args: Any, kwargs: Mapping[str, Any]) -> bool:
    """Return whether a result shares no memory with what it was computed from."""
    given = {
        leaf.untyped_storage()._cdata
        for leaf in tree_leaves((args, dict(kwargs)))
        if isinstance(leaf, Tensor)
    }
    return all(
        leaf.is_meta and not leaf.storage_offset() and leaf.untyped_storage()._cdata not in given
        for leaf in leaves
        if isinstance(leaf, Tensor)
    )


class _Shape(NamedTuple):
    """A tensor without its content."""

    size: torch.Size
    stride: tuple[int, ...]
    dtype: torch.dtype
    device: torch.device
    offset: int


def _described(value: Any) -> Any:
    if isinstance(value, Tensor):
        return _Shape(
            value.shape, value.stride(), value.dtype, value.device, int(value.storage_offset())
        )
    if isinstance(value, list | tuple):
        return (type(value), *map(_described, value))
    return value if value is None else (type(value), value)


def _made(described: Any) -> Any:
    if isinstance(described, _Shape):
        return torch.empty_strided(
            described.size, described.stride, dtype=described.dtype, device=described.device
        )
    return None if described is None else described[1]


def _is_meta(value: Any) -> bool:
    return isinstance(value, Tensor) and value.is_meta
