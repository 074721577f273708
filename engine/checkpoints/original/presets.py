"""The published checkpoints of VideoCrafter1 and 2, and configurations that callers give."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from pydantic import ValidationError

from engine.checkpoints.original.config import (
    Encoder,
    FirstStage,
    OriginalConfig,
    Projection,
    Rescale,
    TextTower,
    VisionTower,
)
from engine.checkpoints.original.errors import OriginalConfigError

LICENCE: Final = "research and non-commercial use only (VideoCrafter's terms)"


@dataclass(frozen=True, slots=True, kw_only=True)
class Preset:
    """A published checkpoint: its architecture, and what its authors sample it with.

    Attributes:
        title: for people.
        config: the architecture.
        default_fps: frames per second where the user asks for none.
    """

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

PRESETS: Final[Mapping[str, Preset]] = {
    "t2v-1024": Preset(
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
    "t2v-512": Preset(
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
    "i2v-512": Preset(
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
            image_encoder=VisionTower(),
            image_encoder_text_leftover=TextTower(),
            image_projection=Projection(),
            image_size=_SMALL,
        ),
        default_fps=8,
    ),
    "t2v-512-v2": Preset(
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
        default_fps=16,
    ),
}


def parse_config(config: str | Mapping[str, Any]) -> OriginalConfig:
    """The architecture that a preset's name or a mapping in the words of the yaml files states.

    Raises:
        OriginalConfigError: no such preset, or a value that is unknown, missing or out of range;
            the text names the key.
    """
    if isinstance(config, str):
        try:
            return PRESETS[config].config
        except KeyError:
            raise OriginalConfigError(
                f"There is no preset {config!r}; there are {', '.join(PRESETS)}."
            ) from None
    try:
        return OriginalConfig.model_validate(dict(config))
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        key = ".".join(("config", *(str(part) for part in first["loc"])))
        raise OriginalConfigError(f"{key}: {first['msg']}.") from error
