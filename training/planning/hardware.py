"""The speed of machines: data-sheet figures of accelerators, and a measurement of this one."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from training.recipe.model import Precision

if TYPE_CHECKING:
    import torch

ASSUMED_UTILISATION = 0.4
"""Share of the peak that training reaches, assumed where nothing was measured."""


@dataclass(frozen=True, slots=True)
class Accelerator:
    """One accelerator, by its data sheet.

    Attributes:
        title: its full name.
        bf16: peak in bfloat16 with float32 sums, dense, TFLOP/s.
        fp32: peak in float32, no tensor cores, TFLOP/s.
        memory: GB.
    """

    title: str
    bf16: float
    fp32: float
    memory: float

    def peak(self, precision: Precision) -> float:
        """Floating-point operations a second."""
        return 1e12 * (self.bf16 if precision == "bf16" else self.fp32)


# Data sheets give twice the dense figure where they count 2:4 sparsity; these are all dense.
ACCELERATORS = {
    "h200": Accelerator("NVIDIA H200 SXM 141 GB", 989, 67, 141),
    "h100": Accelerator("NVIDIA H100 SXM 80 GB", 989, 67, 80),
    "a100": Accelerator("NVIDIA A100 SXM 80 GB", 312, 19.5, 80),
    "a100-40gb": Accelerator("NVIDIA A100 SXM 40 GB", 312, 19.5, 40),
    "l40s": Accelerator("NVIDIA L40S 48 GB", 362, 91.6, 48),
    "l4": Accelerator("NVIDIA L4 24 GB", 121, 30.3, 24),
    "a10": Accelerator("NVIDIA A10 24 GB", 125, 31.2, 24),
    "rtx5090": Accelerator("NVIDIA GeForce RTX 5090 32 GB", 209.5, 104.8, 32),
    "rtx4090": Accelerator("NVIDIA GeForce RTX 4090 24 GB", 165.2, 82.6, 24),
    "rtx3090": Accelerator("NVIDIA GeForce RTX 3090 24 GB", 71, 35.6, 24),
}


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
