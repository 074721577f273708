"""The speed of accelerators by their data sheets."""

from __future__ import annotations

from dataclasses import dataclass

from training.loop.machine_speed import matmul_peak, measure_peak, wait_for
from training.recipe.model import Precision

__all__ = [
    "ACCELERATORS",
    "ASSUMED_UTILISATION",
    "Accelerator",
    "matmul_peak",
    "measure_peak",
    "wait_for",
]

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
