"""The networks: video UNet and image projection, as diffusers models."""

from engine.models.projection import ImageProjection
from engine.models.unet import VideoUNet, VideoUNetOutput
from engine.models.unet_block import CrossAttentionCache

VideoContext = CrossAttentionCache
"""The earlier name of `CrossAttentionCache`, kept for one release."""

__all__ = [
    "CrossAttentionCache",
    "ImageProjection",
    "VideoContext",
    "VideoUNet",
    "VideoUNetOutput",
]
