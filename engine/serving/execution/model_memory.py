"""Memory of a device, and the share of it that loaded models may take."""

from __future__ import annotations

import gc
from typing import Final

import psutil
import torch

from engine.serving.backends.diffusers_memory import weight_bytes

__all__ = ["PeakMemory", "device_memory", "model_budget", "release_memory", "weight_bytes"]

_GB: Final = 10**9
_SHARE_OF_RAM: Final = 0.5
_LEFT_ON_GPU: Final = 0.25
"""Share of a GPU's memory that loaded models leave to what the networks compute."""


def device_memory(device: str) -> tuple[int, int]:
    """Return the free bytes and all bytes of a device; of the machine, if it is no GPU."""
    if device.startswith("cuda"):
        free, total = torch.cuda.mem_get_info(device)
        # What torch keeps for the next tensor is as good as free.
        kept = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
        return free + kept, total
    memory = psutil.virtual_memory()
    return memory.available, memory.total


def model_budget(device: str, limit_gb: float | None, loaded_bytes: int) -> int:
    """Return the bytes that all loaded models of a device may take together.

    Args:
        device: a torch device name.
        limit_gb: the setting; None: as much as is sensible.
        loaded_bytes: what our models take there already.
    """
    if limit_gb is not None:
        return int(limit_gb * _GB)
    free, total = device_memory(device)
    if device.startswith("cuda"):
        return max(0, loaded_bytes + free - int(_LEFT_ON_GPU * total))
    return int(_SHARE_OF_RAM * total)


def release_memory() -> None:
    """Return what is no longer used to the device, after a failure above all."""
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


class PeakMemory:
    """Measures what a GPU needs from here on beside what is in use; nothing on other devices."""

    def __init__(self, device: str) -> None:
        self._device = device if device.startswith("cuda") else None
        self._before = 0
        if self._device is not None:
            torch.cuda.reset_peak_memory_stats(self._device)
            self._before = torch.cuda.memory_allocated(self._device)

    @property
    def bytes(self) -> int | None:
        """The peak so far; None where nobody counts."""
        if self._device is None:
            return None
        return int(torch.cuda.max_memory_allocated(self._device)) - self._before
