"""Prompts and pictures in, clips out: the networks and a scheduler as diffusers pipelines."""

from engine.pipelines.base import VideoPipeline
from engine.pipelines.image_to_video import ImageToVideoPipeline
from engine.pipelines.images import clip_pixels, resize_like_reference
from engine.pipelines.latents import (
    decode_latents,
    denormalise_latents,
    encode_frames,
    normalise_latents,
)
from engine.pipelines.output import OutputType, VideoPipelineOutput
from engine.pipelines.text import TextLayer, encode_text, tokenise
from engine.pipelines.text_to_video import TextToVideoPipeline

Pipeline = TextToVideoPipeline | ImageToVideoPipeline
"""Any pipeline that a model folder becomes."""

__all__ = [
    "ImageToVideoPipeline",
    "OutputType",
    "Pipeline",
    "TextLayer",
    "TextToVideoPipeline",
    "VideoPipeline",
    "VideoPipelineOutput",
    "clip_pixels",
    "decode_latents",
    "denormalise_latents",
    "encode_frames",
    "encode_text",
    "normalise_latents",
    "resize_like_reference",
    "tokenise",
]
