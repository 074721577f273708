"""Options that trade time for memory, put into effect on a loaded pipeline."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import torch
from diffusers.hooks.group_offloading import apply_group_offloading
from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
from torch import Tensor, nn

from engine.pipelines import VideoPipeline
from engine.settings import ModelOptions, Offload

TILE_PIXELS: Final = 512

_LARGE: Final = (nn.Linear, nn.Conv2d, nn.Embedding)
"""The layers that hold nearly all weights and are used by calling them."""


def usable_options(options: ModelOptions, device: str) -> ModelOptions:
    """The options less those that only a CUDA GPU has a use for, where the device is none."""
    if device.startswith("cuda"):
        return options
    return options.model_copy(update={"offload": "none", "compile": False})


def ignored_options(options: ModelOptions, device: str) -> tuple[str, ...]:
    """The names of the options that are set and have no effect on a device."""
    usable = usable_options(options, device)
    return tuple(
        name for name in ("offload", "compile") if getattr(usable, name) != getattr(options, name)
    )


def is_slow(options: ModelOptions, device: str) -> bool:
    """Whether the number format that is set makes the device slower instead of faster."""
    return options.precision == "float16" and device == "cpu"


def apply_options(pipeline: VideoPipeline, options: ModelOptions, device: torch.device) -> None:
    """Put options into effect and see to it that the pipeline computes on the device.

    An offloaded pipeline is for one caller at a time.

    Args:
        pipeline: a loaded one; on the CPU, if weights are to be offloaded.
        options: those that the device has a use for, see `usable_options`.
        device: where to compute.
    """
    set_switches(pipeline, options)
    if options.offload == "model":
        pipeline.enable_model_cpu_offload(device=device)
    elif options.offload == "group":
        _offload_layers(pipeline, device)
    elif device.type != "cpu":  # where it was loaded; diffusers would warn of float16 there
        pipeline.to(device)
    if options.compile:
        pipeline.unet.compile()


def set_switches(pipeline: VideoPipeline, options: ModelOptions) -> None:
    """Turn on or off what can be changed on a pipeline that is loaded: attention and decoding."""
    pipeline.unet.use_attention(options.attention)
    if options.vae_tiling:
        _decode_in_tiles(pipeline.vae)
    else:
        pipeline.vae.disable_tiling()
    if options.vae_slicing:
        pipeline.vae.enable_slicing()
    else:
        pipeline.vae.disable_slicing()


def decode_frugally(vae: AutoencoderKL) -> None:
    """Decode in the way that needs least memory, until `set_switches` is called again."""
    _decode_in_tiles(vae)
    vae.enable_slicing()


def frugal_options(options: ModelOptions, device: str) -> ModelOptions:
    """The options of the way that needs least memory, for when it has run out."""
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


def _decode_in_tiles(vae: AutoencoderKL) -> None:
    """Tiles of 512 pixels. diffusers takes the size of the training pictures, which may be small.

    Every tile is normalised by itself, so small ones would change the picture visibly.
    """
    vae.enable_tiling()
    vae.tile_sample_min_size = TILE_PIXELS
    vae.tile_latent_min_size = TILE_PIXELS // 2 ** (len(vae.config["block_out_channels"]) - 1)


def _offload_layers(pipeline: VideoPipeline, device: torch.device) -> None:
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
