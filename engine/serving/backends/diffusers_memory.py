"""Memory of diffusers pipelines: size of the weights, and offloading them. For several families."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import torch
from diffusers.hooks.group_offloading import apply_group_offloading
from diffusers.pipelines.pipeline_utils import DiffusionPipeline
from torch import Tensor, nn

from engine.checkpoints.catalog import ModelCard
from engine.checkpoints.folder.weights import count_parameters
from engine.settings import Offload

_LARGE: Final = (nn.Linear, nn.Conv2d, nn.Embedding)
"""The layers that hold nearly all weights and are used by calling them."""


def weight_bytes(card: ModelCard, dtype: torch.dtype) -> int:
    """Return the size of a model's weights once they are loaded; only file headers are read.

    Raises:
        ModelLoadError: the files are missing or damaged.
    """
    return sum(count_parameters(card.path).values()) * dtype.itemsize


def pipeline_bytes(pipeline: DiffusionPipeline) -> int:
    """Return the size of a pipeline's weights, wherever they lie."""
    return sum(
        tensor.nbytes
        for network in pipeline.components.values()
        if isinstance(network, nn.Module)
        for tensors in (network.parameters(), network.buffers())
        for tensor in tensors
    )


def place_pipeline(pipeline: DiffusionPipeline, offload: Offload, device: torch.device) -> None:
    """Let a pipeline that was loaded on the CPU compute on a device.

    An offloaded pipeline is for one caller at a time.
    """
    if offload == "model":
        pipeline.enable_model_cpu_offload(device=device)
    elif offload == "group":
        _offload_layers(pipeline, device)
    elif device.type != "cpu":  # where it was loaded; diffusers would warn of float16 there
        pipeline.to(device)


def _offload_layers(pipeline: DiffusionPipeline, device: torch.device) -> None:
    """Let every large layer fetch its own weights; everything small lies on the device for good.

    Not the pipeline's own `enable_group_offload`: that makes every small layer a group, too, and
    some of them are not called but have their weights read by the layer around them. And it needs
    to see all layers called from the network's `forward`, while our keys and values of the prompt
    are computed once, before it.
    """
    for network in pipeline.components.values():
        if isinstance(network, nn.Module):
            for layer in network.modules():
                if isinstance(layer, _LARGE):
                    apply_group_offloading(layer, onload_device=device, offload_type="leaf_level")
                else:
                    for tensor in _own_tensors(layer):
                        tensor.data = tensor.data.to(device)


def _own_tensors(layer: nn.Module) -> Iterator[Tensor]:
    yield from layer.parameters(recurse=False)
    yield from layer.buffers(recurse=False)
