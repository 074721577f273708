"""The networks: video UNet and image projection, as diffusers models."""

from engine.models.projection import ImageProjection
from engine.models.unet import VideoContext, VideoUNet, VideoUNetOutput

__all__ = ["ImageProjection", "VideoContext", "VideoUNet", "VideoUNetOutput"]
