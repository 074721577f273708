"""The published checkpoints of VideoCrafter1 and 2, and configurations that callers give."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Final

from pydantic import ValidationError

from common.validation import first_fault
from engine.checkpoints.errors import OriginalConfigError
from engine.checkpoints.original.config import (
    Encoder,
    FirstStage,
    OriginalConfig,
    Projection,
    Rescale,
    TextTowerConfig,
    VisionTowerConfig,
)

LICENCE: Final = "research and non-commercial use only (VideoCrafter's terms)"


@dataclass(frozen=True, slots=True, kw_only=True)
class Preset:
    """A published checkpoint: its architecture, and what its authors sample it with.

    Attributes:
        name: what it is asked for by.
        title: for people.
        config: the architecture.
        default_fps: frame rate given to the network where the user asks for none.
    """

    name: str
    title: str
    config: OriginalConfig
    default_fps: int


_UNET: Final[Mapping[str, Any]] = {
    "in_channels": 4,
    "out_channels": 4,
    "model_channels": 320,
    "channel_mult": [1, 2, 4, 4],
    "num_res_blocks": 2,
    "attention_resolutions": [4, 2, 1],
    "num_head_channels": 64,
    "transformer_depth": 1,
    "context_dim": 1024,
    "temporal_length": 16,
    "use_linear": True,
    "temporal_attention": True,
    "temporal_selfatt_only": True,
    "use_causal_attention": False,
    "addition_attention": True,
}
_VAE: Final = FirstStage(
    embed_dim=4,
    ddconfig=Encoder(
        z_channels=4,
        resolution=512,
        in_channels=3,
        out_ch=3,
        ch=128,
        ch_mult=(1, 2, 4, 4),
        num_res_blocks=2,
    ),
)
_SMALL, _LARGE = (40, 64), (72, 128)  # latent height and width: 320x512 and 576x1024 pixels

_ALL: Final = (
    Preset(
        name="t2v-1024",
        title="VideoCrafter1 Text2Video-1024",
        config=OriginalConfig(
            unet_config={
                **_UNET,
                "fps_cond": True,
                "use_relative_position": True,
                "temporal_conv": False,
            },
            first_stage_config=_VAE,
            rescale=Rescale(use_scale=True, scale_b=0.3, fix_scale_bug=True),
            image_size=_LARGE,
        ),
        default_fps=16,
    ),
    Preset(
        name="t2v-512",
        title="VideoCrafter1 Text2Video-512",
        config=OriginalConfig(
            unet_config={
                **_UNET,
                "fps_cond": False,
                "use_relative_position": True,
                "temporal_conv": False,
            },
            first_stage_config=_VAE,
            image_size=_SMALL,
        ),
        default_fps=8,
    ),
    Preset(
        name="i2v-512",
        title="VideoCrafter1 Image2Video-512",
        config=OriginalConfig(
            unet_config={
                **_UNET,
                "fps_cond": True,
                "use_relative_position": False,
                "temporal_conv": True,
                "use_image_attention": True,
            },
            first_stage_config=_VAE,
            rescale=Rescale(use_scale=True, scale_b=0.7),
            image_encoder=VisionTowerConfig(),
            image_encoder_text_leftover=TextTowerConfig(),
            image_projection=Projection(),
            image_size=_SMALL,
        ),
        default_fps=8,
    ),
    Preset(
        name="t2v-512-v2",
        title="VideoCrafter2 Text2Video-512",
        config=OriginalConfig(
            unet_config={
                **_UNET,
                "fps_cond": True,
                "use_relative_position": False,
                "temporal_conv": True,
            },
            first_stage_config=_VAE,
            rescale=Rescale(use_scale=True, scale_b=0.7),
            image_size=_SMALL,
        ),
        default_fps=28,
    ),
)

PRESETS: Final[Mapping[str, Preset]] = MappingProxyType({preset.name: preset for preset in _ALL})
"""By name."""


def find_preset(config: str | Mapping[str, Any] | Preset) -> Preset | None:
    """The published model that is meant, or None where an architecture is spelt out.

    Raises:
        OriginalConfigError: no such preset.
    """
    if not isinstance(config, str):
        return config if isinstance(config, Preset) else None
    try:
        return PRESETS[config]
    except KeyError:
        raise OriginalConfigError(
            f"There is no preset {config!r}; there are {', '.join(PRESETS)}."
        ) from None


def parse_config(config: str | Mapping[str, Any] | Preset) -> OriginalConfig:
    """The architecture that a preset or a mapping in the words of the yaml files states.

    Raises:
        OriginalConfigError: no such preset, or a value that is unknown, missing or out of range;
            the text names the key.
    """
    if isinstance(config, str | Preset):
        preset = find_preset(config)
        assert preset is not None  # a name that is none has been refused
        return preset.config
    try:
        return OriginalConfig.model_validate(dict(config))
    except ValidationError as error:
        fault = first_fault(error)
        key = ".".join(("config", *fault.path))
        raise OriginalConfigError(f"{key}: {fault.message}.") from error
