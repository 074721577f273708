"""The autoencoder: names of the CompVis `AutoencoderKL` to those of diffusers'."""

from __future__ import annotations

import re
from typing import Any, Final

import torch
from diffusers import AutoencoderKL

from engine.checkpoints.original.config import FirstStage
from engine.checkpoints.original.rules import Component, Rule

PREFIX: Final = "first_stage_model."

_NAMES: Final = (
    (re.compile(r"\bdown_blocks\.(\d+)\.resnets\."), r"down.\1.block."),
    (re.compile(r"\bdown_blocks\.(\d+)\.downsamplers\.0\."), r"down.\1.downsample."),
    (re.compile(r"\bup_blocks\.(\d+)\.resnets\."), r"up.\1.block."),
    (re.compile(r"\bup_blocks\.(\d+)\.upsamplers\.0\."), r"up.\1.upsample."),
    (re.compile(r"\bmid_block\.resnets\.0\."), "mid.block_1."),
    (re.compile(r"\bmid_block\.resnets\.1\."), "mid.block_2."),
    (re.compile(r"\bmid_block\.attentions\.0\."), "mid.attn_1."),
    (re.compile(r"\bconv_shortcut\."), "nin_shortcut."),
    (re.compile(r"\bconv_norm_out\."), "norm_out."),
    (re.compile(r"\bgroup_norm\."), "norm."),
    (re.compile(r"\bto_out\.0\."), "proj_out."),
    (re.compile(r"\bto_([qkv])\."), r"\1."),
)
_UP: Final = re.compile(r"(?<=\bup_blocks\.)\d+")


def autoencoder(config: FirstStage, scale_factor: float) -> Component:
    """The autoencoder of a configuration.

    Args:
        config: its architecture.
        scale_factor: what its latents are multiplied by for the UNet.
    """
    encoder = config.ddconfig
    widths = tuple(encoder.ch * mult for mult in encoder.ch_mult)
    with torch.device("meta"):
        vae: Any = AutoencoderKL(
            in_channels=encoder.in_channels,
            out_channels=encoder.out_ch,
            down_block_types=("DownEncoderBlock2D",) * len(widths),
            up_block_types=("UpDecoderBlock2D",) * len(widths),
            block_out_channels=widths,
            layers_per_block=encoder.num_res_blocks,
            latent_channels=encoder.z_channels,
            sample_size=encoder.resolution,
            scaling_factor=scale_factor,
        )
    rules = []
    for name, tensor in vae.state_dict().items():
        shape = tuple(tensor.shape)
        if ".attentions." in name and tensor.ndim == 2:
            shape = (*shape, 1, 1)  # released as 1x1 convolutions
        rules.append(Rule(PREFIX + _released_name(name, len(widths)), shape, (name,)))
    return Component(vae, tuple(rules))


def _released_name(name: str, levels: int) -> str:
    # The released decoder counts its levels from the finest.
    name = _UP.sub(lambda match: str(levels - 1 - int(match[0])), name)
    for pattern, released in _NAMES:
        name = pattern.sub(released, name)
    return name
