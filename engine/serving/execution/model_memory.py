"""How much memory models take, and how much they may."""

from __future__ import annotations

from typing import Final

import psutil
import torch

from engine.checkpoints.catalog import ModelCard
from engine.checkpoints.folder.weights import count_parameters
from engine.pipelines import VideoPipeline

_GB: Final = 10**9
_SHARE_OF_RAM: Final = 0.5
_LEFT_ON_GPU: Final = 0.25
"""Share of a GPU's memory that loaded models leave to what the networks compute."""


def weight_bytes(card: ModelCard, dtype: torch.dtype) -> int:
    """Size of a model's weights once they are loaded; only the files' headers are read.

    Raises:
        ModelLoadError: the files are missing or damaged.
    """
    return sum(count_parameters(card.path).values()) * dtype.itemsize


def pipeline_bytes(pipeline: VideoPipeline) -> int:
    """Size of a pipeline's weights, wherever they lie."""
    networks = [part for part in pipeline.components.values() if isinstance(part, torch.nn.Module)]
    return sum(
        tensor.nbytes
        for network in networks
        for tensors in (network.parameters(), network.buffers())
        for tensor in tensors
    )


def device_memory(device: str) -> tuple[int, int]:
    """Bytes that are free for us and bytes there are; of the machine, if the device is no GPU."""
    if device.startswith("cuda"):
        free, total = torch.cuda.mem_get_info(device)
        # What torch keeps for the next tensor is as good as free.
        kept = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
        return free + kept, total
    memory = psutil.virtual_memory()
    return memory.available, memory.total


def model_budget(device: str, limit_gb: float | None, loaded_bytes: int) -> int:
    """Bytes that all loaded models of a device may take together.

    Args:
        device: a torch device name.
        limit_gb: what the settings say; None: as much as is sensible.
        loaded_bytes: what our models take there already.
    """
    if limit_gb is not None:
        return int(limit_gb * _GB)
    free, total = device_memory(device)
    if device.startswith("cuda"):
        return max(0, loaded_bytes + free - int(_LEFT_ON_GPU * total))
    return int(_SHARE_OF_RAM * total)
