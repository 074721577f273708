"""Rules of the load options that hold for every model family."""

from __future__ import annotations

from typing import cast

import torch

from engine.settings import ModelOptions, Offload, Precision


def choose_dtype(device: str, precision: Precision) -> torch.dtype:
    """Return the number format of the weights on a device."""
    if precision != "auto":
        return cast(torch.dtype, getattr(torch, precision))
    if not device.startswith("cuda"):
        return torch.float32
    native = torch.cuda.is_bf16_supported(including_emulation=False)
    return torch.bfloat16 if native else torch.float16


def usable_options(options: ModelOptions, device: str) -> ModelOptions:
    """Return the options less those that need a CUDA GPU, where the device is none."""
    if device.startswith("cuda"):
        return options
    return options.model_copy(update={"offload": "none", "compile": False})


def ignored_options(options: ModelOptions, device: str) -> tuple[str, ...]:
    """Return the names of the options that are set and have no effect on a device."""
    usable = usable_options(options, device)
    return tuple(
        name for name in ("offload", "compile") if getattr(usable, name) != getattr(options, name)
    )


def is_slow(options: ModelOptions, device: str) -> bool:
    """Return True if the number format that is set makes the device slower instead of faster."""
    return options.precision == "float16" and device == "cpu"


def low_memory_options(options: ModelOptions, device: str) -> ModelOptions:
    """Return the options that need least memory, for when it has run out."""
    offload: Offload = "model" if options.offload == "none" else "group"
    return usable_options(
        ModelOptions(
            precision=options.precision,
            offload=offload,
            vae_tiling=True,
            vae_slicing=True,
            attention="sliced",
        ),
        device,
    )
