"""Stages 5 and 6: image-to-video, in the order of VideoCrafter1, section 3.2.

First the mapping (projection net, K' and V' of the image tokens), with all else frozen; then the
video model, with both mappings frozen.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from transformers import CLIPTextModel, CLIPTokenizer, CLIPVisionModel

from engine.models import ImageProjection, VideoUNet
from engine.pipelines.images import clip_pixels, unconditional_pixels
from engine.pipelines.text import encode_text
from training import distributed
from training.data.world import render
from training.loop import ParameterGroup
from training.recipe import ImageToVideoStage, Optimisation
from training.stages.diffusion import (
    PROBE_SEED,
    TEXT_LAYER,
    Batch,
    ClipSampler,
    demo_scheduler,
    denoising_loss,
    draw_noise,
    draw_timesteps,
)
from training.stages.text_to_video import split_temporal

MAPPING_LAYERS = ("to_k_image", "to_v_image")
TEXT_LAYERS = ("attn_2.to_k.", "attn_2.to_v.")


class ImageToVideo(nn.Module):
    """The trained parts, so that one state dict holds them."""

    def __init__(self, unet: VideoUNet, projection: ImageProjection) -> None:
        super().__init__()
        self.unet = unet
        self.projection = projection


class ImageToVideoTask:
    """Denoise clips given a caption and their first frame, and pictures given themselves."""

    def __init__(self, stage: ImageToVideoStage, plan: Optimisation) -> None:
        self.stage = stage
        self.batch_size = distributed.share_of(plan.batch_size)
        self.scheduler = demo_scheduler()
        self.text_encoder = CLIPTextModel.from_pretrained(stage.start / "text_encoder")
        self.vision = CLIPVisionModel.from_pretrained(stage.towers / "image_encoder")
        self.text_encoder.eval().requires_grad_(False)
        self.vision.eval().requires_grad_(False)
        self.model = self._model()
        tokenizer = CLIPTokenizer.from_pretrained(stage.towers / "tokenizer")
        self.sampler = ClipSampler(stage, tokenizer, stage.vae.parent / "latents")

    def parameter_groups(self) -> list[ParameterGroup]:
        unet, projection = self.model.unet, self.model.projection
        mapping = [
            p for n, p in unet.named_parameters() if any(part in n for part in MAPPING_LAYERS)
        ]
        if self.stage.trains == "mapping":
            unet.requires_grad_(False)
            for parameter in mapping:
                parameter.requires_grad_(True)
            return [ParameterGroup([*projection.parameters(), *mapping])]
        projection.requires_grad_(False)
        for name, parameter in unet.named_parameters():
            if any(part in name for part in (*MAPPING_LAYERS, *TEXT_LAYERS)):
                parameter.requires_grad_(False)
        temporal, other = split_temporal(unet)
        return [
            ParameterGroup([p for p in other if p.requires_grad]),
            ParameterGroup(temporal, self.stage.temporal_rate),
        ]

    def loss(self, rng: np.random.Generator, step: int) -> Tensor:
        batch, pictures = self.sampler.step(rng, step, self.batch_size)
        timesteps = draw_timesteps(rng, len(batch.scenes), self.stage)
        dropped = torch.from_numpy(rng.random(len(batch.scenes)) < self.stage.image_dropout)
        return denoising_loss(
            self.model.unet,
            self.scheduler,
            batch,
            timesteps,
            draw_noise(batch.latents, self.stage),
            encode_text(self.text_encoder, batch.token_ids, TEXT_LAYER),
            image=self._image_tokens(batch, dropped),
            skip_temporal=pictures,
        )

    def evaluate(self) -> dict[str, float]:
        """Losses of held-out clips with their own picture, another clip's, and none."""
        batch, _ = self.sampler.probe()
        text = encode_text(self.text_encoder, batch.token_ids, TEXT_LAYER)
        noise = draw_noise(batch.latents, self.stage, torch.Generator().manual_seed(PROBE_SEED))
        count = len(batch.scenes)
        own = self._image_tokens(batch, torch.zeros(count, dtype=torch.bool))
        none = self._image_tokens(batch, torch.ones(count, dtype=torch.bool))
        figures = {}
        for timestep in (999, 700):
            steps = torch.full((count,), timestep)
            for name, image in (("own", own), ("other", own.roll(1, 0)), ("none", none)):
                loss = denoising_loss(
                    self.model.unet, self.scheduler, batch, steps, noise, text, image=image
                )
                figures[f"{name}_{timestep}"] = loss.item()
        return figures

    def export(self, folder: Path) -> None:
        self.model.unet.save_pretrained(folder / "unet")
        self.model.projection.save_pretrained(folder / "image_projection")
        self.text_encoder.save_pretrained(folder / "text_encoder")

    def _model(self) -> ImageToVideo:
        stage = self.stage
        if (stage.start / "image_projection").exists():
            return ImageToVideo(
                VideoUNet.from_pretrained(stage.start / "unet"),
                ImageProjection.from_pretrained(stage.start / "image_projection"),
            )
        base = VideoUNet.from_pretrained(stage.start / "unet")
        unet = VideoUNet.from_config({**base.config, "image_cross_attention": True})
        left = unet.load_state_dict(base.state_dict(), strict=False)
        if left.unexpected_keys or any(
            not any(part in key for part in MAPPING_LAYERS) for key in left.missing_keys
        ):
            raise ValueError(f"{stage.start / 'unet'}: not a text-to-video UNet of this layout")
        width = base.config.context_dim
        projection = ImageProjection(
            dim=stage.projection_dim,
            depth=stage.projection_depth,
            dim_head=32,
            heads=stage.projection_dim // 32,
            num_queries=stage.num_queries,
            embedding_dim=self.vision.config.hidden_size,
            output_dim=width,
        )
        return ImageToVideo(unet, projection)

    def _image_tokens(self, batch: Batch, dropped: Tensor) -> Tensor:
        """Tokens of each batch entry's first frame, or of mid grey where it is dropped."""
        size = int(self.vision.config.image_size)  # type: ignore[arg-type]  # square here
        pictures = torch.cat([render(scene, [batch.first_frame]) for scene in batch.scenes])
        pixels = clip_pixels(pictures.float() / 255, size)
        pixels = torch.where(dropped[:, None, None, None], unconditional_pixels(size), pixels)
        with torch.no_grad():
            features = self.vision(pixels).last_hidden_state
        return self.model.projection(features)  # type: ignore[no-any-return]
