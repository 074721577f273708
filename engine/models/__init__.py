"""The networks: video UNet and image projection, as diffusers models."""

from engine.models.projection import ImageProjection
from engine.models.stage import VideoContext
from engine.models.unet import VideoUNet, VideoUNetOutput

__all__ = ["ImageProjection", "VideoContext", "VideoUNet", "VideoUNetOutput"]
