"""What the machine can do: the yardstick that the benchmarks measure in the same run."""

from __future__ import annotations

import platform
import resource
import time
from pathlib import Path

import torch


def device_name(device: torch.device) -> str:
    """The processor or GPU, in words."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
        if line.startswith("model name"):
            return f"{line.partition(':')[2].strip()}, {torch.get_num_threads()} threads"
    return platform.processor()


def synchronise(device: torch.device) -> None:
    """Wait until the device has done all it was told."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def matmul_peak(device: torch.device, dtype: torch.dtype, *, seconds: float = 2.0) -> float:
    """FLOP/s of the best of many square matrix products, as large as they stay quick."""
    side = 8192 if device.type == "cuda" else 2048
    left = torch.randn(side, side, device=device, dtype=dtype)
    right = torch.randn(side, side, device=device, dtype=dtype)
    out = torch.empty_like(left)
    torch.mm(left, right, out=out)
    best = float("inf")
    ends = time.perf_counter() + seconds
    while time.perf_counter() < ends:
        synchronise(device)
        start = time.perf_counter()
        torch.mm(left, right, out=out)
        synchronise(device)
        best = min(best, time.perf_counter() - start)
    return 2 * side**3 / best


def peak_memory_bytes(device: torch.device) -> int:
    """The most memory this process has held: GPU memory, or resident memory on a CPU."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    unit = 1 if platform.system() == "Darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
