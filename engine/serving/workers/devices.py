"""The torch devices of this machine."""

from __future__ import annotations

import torch

from engine.settings import EngineSettingsError


def device_kind(device: str) -> str:
    """Return the kind of a device; devices of one kind are equally fast."""
    kind, _, index = device.partition(":")
    return torch.cuda.get_device_name(int(index or 0)) if kind == "cuda" else kind


def local_devices(wanted: tuple[str, ...] | None) -> tuple[str, ...]:
    """Return the devices to work on; None is every GPU, or else the CPU.

    Raises:
        EngineSettingsError: one of them does not exist here.
    """
    gpus = torch.cuda.device_count()
    if wanted is None:
        return tuple(f"cuda:{index}" for index in range(gpus)) or ("cpu",)
    for device in wanted:
        kind, _, index = device.partition(":")
        if kind == "cuda" and int(index or 0) >= gpus:
            raise EngineSettingsError("devices", f"{device!r} does not exist; GPUs found: {gpus}")
        if kind == "mps" and not torch.backends.mps.is_available():
            raise EngineSettingsError("devices", "'mps' is not available on this machine")
    return wanted
