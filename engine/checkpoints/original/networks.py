"""The UNet and the projection net, whose released names `engine.models.original_names` knows."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from engine.checkpoints.original.config import Projection
from engine.checkpoints.original.rules import Component, Rule, Shape
from engine.models import ImageProjection, VideoUNet
from engine.models.original_names import (
    PROJECTION_PREFIX,
    UNET_PREFIX,
    projection_original_names,
    unet_config_from_original,
    unet_original_names,
)


def video_unet(params: Mapping[str, Any]) -> Component:
    """The UNet of the ``unet_config.params`` of a released yaml file.

    Raises:
        ValueError: an option that this UNet does not have.
    """
    with torch.device("meta"):
        unet = VideoUNet(**unet_config_from_original(params))
    own = unet.state_dict()
    linear = bool(params.get("use_linear", False))
    rules = (
        Rule(UNET_PREFIX + released, _released_shape(name, own[name], linear), (name,))
        for name, released in unet_original_names(unet).items()
    )
    return Component(unet, tuple(rules))


def image_projection(params: Projection) -> Component:
    """The projection net of image-to-video."""
    with torch.device("meta"):
        projection = ImageProjection(**params.model_dump())
    own = projection.state_dict()
    rules = (
        Rule(PROJECTION_PREFIX + released, tuple(own[name].shape), (name,))
        for name, released in projection_original_names(projection).items()
    )
    return Component(projection, tuple(rules))


def _released_shape(name: str, tensor: Tensor, linear: bool) -> Shape:
    """Add the axes of one that theirs has where ours is a linear layer or a (3, 1) convolution."""
    shape = tuple(tensor.shape)
    if ".temporal.convs." in name and name.endswith(".weight"):
        return (*shape, 1)
    is_projection = ".blocks." not in name and name.endswith(("proj_in.weight", "proj_out.weight"))
    if not is_projection:
        return shape
    if name.startswith("initial_temporal."):
        return (*shape, 1)  # the released code does not hand its use_linear on to this one
    if linear:
        return shape
    return (*shape, 1, 1) if ".spatial." in name else (*shape, 1)
