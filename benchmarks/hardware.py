"""The name of this machine's processor or GPU, and the peak memory of a benchmark."""

from __future__ import annotations

import platform
import resource
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


def peak_memory_bytes(device: torch.device) -> int:
    """The most memory this process has held: GPU memory, or resident memory on a CPU."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    unit = 1 if platform.system() == "Darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
