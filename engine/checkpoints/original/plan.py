"""A configuration becomes the rules for a whole released file."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from engine.checkpoints.errors import OriginalConfigError
from engine.checkpoints.original.autoencoder import autoencoder
from engine.checkpoints.original.clip import text_tower, vision_tower
from engine.checkpoints.original.config import OriginalConfig
from engine.checkpoints.original.networks import image_projection, video_unet
from engine.checkpoints.original.presets import parse_config
from engine.checkpoints.original.rules import Component, Shape, check_tensors, shapes_of
from engine.checkpoints.original.schedule import buffer_shapes, check_schedule


@dataclass(frozen=True, slots=True)
class ConversionPlan:
    """Tensors that a released file must hold, and the networks that take them.

    Attributes:
        config: the architecture.
        components: by the names they have in a pipeline.
    """

    config: OriginalConfig
    components: Mapping[str, Component]

    def shapes(self) -> dict[str, Shape]:
        """Name and shape of every tensor in the file, buffers included."""
        shapes = buffer_shapes(self.config)
        for component in self.components.values():
            shapes |= shapes_of(component.rules)
        return shapes

    def check(self, file: str, tensors: Mapping[str, Tensor]) -> None:
        """Refuse tensors that are not exactly those of this plan.

        Raises:
            OriginalCheckpointError: names what does not fit.
        """
        check_tensors(file, tensors, self.shapes())
        check_schedule(file, tensors, self.config)


def make_plan(config: OriginalConfig) -> ConversionPlan:
    """Build the networks on the meta device and look up where their tensors come from.

    Raises:
        OriginalConfigError: networks that cannot be built so.
    """
    text = config.cond_stage_config
    try:
        components = {
            "vae": autoencoder(config.first_stage_config, config.scale_factor),
            "text_encoder": text_tower(text),
            "unet": video_unet(config.unet_config),
        }
        if config.image_encoder is not None and config.image_projection is not None:
            components["image_encoder"] = vision_tower(
                config.image_encoder, text.embed_dim, config.image_encoder_text_leftover
            )
            components["image_projection"] = image_projection(config.image_projection)
        _check_widths(components["unet"].module.config, config)
    except (TypeError, ValueError) as error:
        raise OriginalConfigError(f"config: {error}.") from error
    return ConversionPlan(config, components)


def expected_tensors(config: str | Mapping[str, Any]) -> dict[str, Shape]:
    """Name and shape of every tensor of a released file, without allocating any.

    Args:
        config: a preset ("t2v-1024", "t2v-512", "i2v-512", "t2v-512-v2"), or the architecture in
            the words of the released yaml files (see `OriginalConfig`).

    Raises:
        OriginalConfigError: no such preset, or an architecture that cannot be built.
    """
    return make_plan(parse_config(config)).shapes()


def _check_widths(unet: Any, config: OriginalConfig) -> None:
    """Refuse a UNet that its neighbours do not fit; the released defaults are filled in by now."""
    width = config.cond_stage_config.text_cfg.width
    channels = config.first_stage_config.embed_dim
    for option, name, value in (
        ("context_dim", "cond_stage_config.text_cfg.width", width),
        ("in_channels", "first_stage_config.embed_dim", channels),
        ("out_channels", "first_stage_config.embed_dim", channels),
    ):
        if unet[option] != value:
            raise ValueError(f"unet_config.{option} is {unet[option]}, but {name} is {value}")
