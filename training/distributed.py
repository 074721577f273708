"""Data parallelism over processes: each computes on its share, gradients are averaged."""

from __future__ import annotations

from collections.abc import Iterable

import torch
import torch.distributed as dist
from torch import nn


def rank() -> int:
    """This process's number, 0 when there is only one."""
    return dist.get_rank() if dist.is_initialized() else 0


def world_size() -> int:
    """How many processes train together."""
    return dist.get_world_size() if dist.is_initialized() else 1


def share_of(batch_size: int) -> int:
    """This process's part of a batch.

    Raises:
        ValueError: the batch does not divide by the processes.
    """
    if batch_size % world_size():
        raise ValueError(f"a batch of {batch_size} does not divide by {world_size()} processes")
    return batch_size // world_size()


def any_process(flag: bool) -> bool:
    """Whether the flag is set on any process; all must ask at the same point."""
    if world_size() == 1:
        return flag
    votes = torch.tensor([float(flag)])
    dist.all_reduce(votes)
    return bool(votes.item())


def average_gradients(parameters: Iterable[nn.Parameter]) -> None:
    """Replace every gradient by its mean over the processes.

    A parameter without a gradient here (temporal layers on a picture step) has none on any
    process, because all draw the same kind of step.
    """
    if world_size() == 1:
        return
    gradients = [p.grad for p in parameters if p.grad is not None]
    flat = torch.cat([g.flatten() for g in gradients])
    dist.all_reduce(flat)
    flat /= world_size()
    for gradient, mean in zip(gradients, flat.split([g.numel() for g in gradients]), strict=True):
        gradient.copy_(mean.view_as(gradient))
