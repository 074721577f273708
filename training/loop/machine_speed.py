"""The speed of this machine, measured."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from training.recipe.model import Precision

if TYPE_CHECKING:
    import torch


def measure_peak(device: torch.device, precision: Precision, seconds: float = 1.0) -> float:
    """Floating-point operations a second of large matrix products, see `matmul_peak`."""
    import torch

    kind = torch.bfloat16 if precision == "bf16" else torch.float32
    return matmul_peak(device, kind, seconds=seconds)


def matmul_peak(
    device: torch.device, dtype: torch.dtype, *, side: int = 2048, seconds: float = 1.0
) -> float:
    """Floating-point operations a second of products of square matrices on this machine.

    The best of as many as fit into ``seconds``: other work on the machine slows some of them.
    """
    import torch

    # Random draws here must not disturb anyone's; zeros would be faster than any real matrix.
    generator = torch.Generator().manual_seed(0)
    a = torch.randn(side, side, generator=generator).to(device, dtype)
    out = torch.empty_like(a)  # or every product would pay for new pages
    best, end = float("inf"), time.perf_counter() + seconds
    torch.mm(a, a, out=out)
    while best == float("inf") or time.perf_counter() < end:
        wait_for(device)
        before = time.perf_counter()
        torch.mm(a, a, out=out)
        wait_for(device)
        best = min(best, time.perf_counter() - before)
    return 2 * side**3 / best


def wait_for(device: torch.device) -> None:
    """Return when the device has done all that it was given."""
    import torch

    if device.type != "cpu":
        torch.accelerator.synchronize(device)
