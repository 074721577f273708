"""Clips from a prompt and a picture."""

from __future__ import annotations

from typing import cast

from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
from torch import Tensor
from transformers import CLIPTextModel, CLIPTokenizer, CLIPVisionModel

from engine.models import ImageProjection, VideoUNet
from engine.pipelines.base import VideoPipeline
from engine.pipelines.images import clip_pixels, fit_to_clip_size, to_pixels, unconditional_pixels
from engine.pipelines.inputs import ClipShape, check_embeds, repeat_to
from engine.schedulers import VideoScheduler


class ImageToVideoPipeline(VideoPipeline):
    """Clips that show what a picture shows, moving as a prompt says (VideoCrafter1, section 3.2).

    The picture reaches the UNet through its cross-attention, as tokens of CLIP's image encoder that
    a projection brings into the space of the text. "No picture" is mid grey, sent the same way.
    For the arguments of a call see `VideoPipeline.__call__`.

    Args:
        vae: autoencoder of single frames.
        text_encoder: CLIP text model.
        tokenizer: its tokenizer.
        image_encoder: CLIP vision model; all tokens of its last block are used, without the final
            layer norm.
        image_projection: from those tokens to the UNet's image tokens.
        unet: a video UNet with image cross-attention.
        scheduler: of `engine.schedulers.make_scheduler`.
        text_layer: which features of the text encoder the UNet was trained on, "last" or
            "penultimate".
        shared_noise: share of the starting noise that all frames of a clip have in common, 0 to 1;
            what the UNet was trained with (0 for the released models).

    Raises:
        ValueError: unknown text layer, or a share out of range.
    """

    model_cpu_offload_seq = "text_encoder->image_encoder->image_projection->unet->vae"  # type: ignore[assignment]

    image_encoder: CLIPVisionModel
    image_projection: ImageProjection

    def __init__(
        self,
        vae: AutoencoderKL,
        text_encoder: CLIPTextModel,
        tokenizer: CLIPTokenizer,
        image_encoder: CLIPVisionModel,
        image_projection: ImageProjection,
        unet: VideoUNet,
        scheduler: VideoScheduler,
        text_layer: str = "last",
        shared_noise: float = 0.0,
    ) -> None:
        super().__init__()
        self.register_modules(  # type: ignore[no-untyped-call]
            vae=vae,
            text_encoder=text_encoder,
            tokenizer=tokenizer,
            image_encoder=image_encoder,
            image_projection=image_projection,
            unet=unet,
            scheduler=scheduler,
        )
        self._register_settings(text_layer, shared_noise)

    def _image_features(
        self,
        image: object,
        embeds: Tensor | None,
        negative_embeds: Tensor | None,
        batch: int,
        guided: bool,
        clip: ClipShape,
    ) -> tuple[Tensor | None, Tensor | None]:
        if (image is None) == (embeds is None):
            raise ValueError("image: give either image or image_embeds to this model")
        width = self.unet.config["context_dim"]
        tokens = self.image_projection.config["num_queries"]
        check_embeds("image_embeds", embeds, tokens, width)
        check_embeds("negative_image_embeds", negative_embeds, tokens, width)
        size = cast(int, self.image_encoder.config.image_size)
        name = "image_embeds"
        if embeds is None:
            name = "image"
            pixels = to_pixels(image).to(self._execution_device)
            pixels = fit_to_clip_size(pixels, clip.height, clip.width)
            embeds = self._image_tokens(clip_pixels(pixels, size))
        embeds = repeat_to(name, embeds, batch)
        if not guided:
            return embeds, None
        if negative_embeds is None:
            negative_embeds = self._image_tokens(unconditional_pixels(size))
        return embeds, repeat_to("negative_image_embeds", negative_embeds, batch)

    def _image_tokens(self, pixels: Tensor) -> Tensor:
        """Normalised pixels `[B, 3, S, S]` to image tokens `[B, N, D]`."""
        pixels = pixels.to(device=self._execution_device, dtype=self.image_encoder.dtype)
        features = self.image_encoder(pixels).last_hidden_state  # [B, 1 + patches, C]
        tokens: Tensor = self.image_projection(features.to(self.image_projection.dtype))
        return tokens
