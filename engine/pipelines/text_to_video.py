"""Clips from prompts."""

from __future__ import annotations

from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
from torch import Tensor
from transformers import CLIPTextModel, CLIPTokenizer

from engine.models import VideoUNet
from engine.pipelines.base import VideoPipeline
from engine.pipelines.inputs import ClipShape
from engine.schedulers import VideoScheduler


class TextToVideoPipeline(VideoPipeline):
    """Clips from prompts; for the arguments of a call see `VideoPipeline.__call__`.

    Args:
        vae: autoencoder of single frames.
        text_encoder: CLIP text model.
        tokenizer: its tokenizer.
        unet: a video UNet.
        scheduler: of `engine.schedulers.make_scheduler`.
        text_layer: which features of the text encoder the UNet was trained on, "last" or
            "penultimate".
        shared_noise: share of the starting noise that all frames of a clip have in common, 0 to 1;
            what the UNet was trained with (0 for the released models).

    Raises:
        ValueError: unknown text layer, or a share out of range.
    """

    model_cpu_offload_seq = "text_encoder->unet->vae"  # type: ignore[assignment]

    def __init__(
        self,
        vae: AutoencoderKL,
        text_encoder: CLIPTextModel,
        tokenizer: CLIPTokenizer,
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
        if image is not None or embeds is not None or negative_embeds is not None:
            raise ValueError("image: None, for this model makes clips from text alone")
        return None, None
