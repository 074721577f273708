"""Image-to-video, in the order of VideoCrafter1, section 3.2.

First the mapping (projection net, K' and V' of the image tokens), with all else frozen; then the
video model, with both mappings frozen.

The picture reaches the UNet by cross-attention alone. Its latent is neither joined to the noisy
latents nor put in the place of a frame: the released model has no inputs for that, so a clip shows
what the picture shows and need not begin with its very pixels.
"""

from __future__ import annotations

from pathlib import Path
from typing import Self

import numpy as np
import torch
from torch import Tensor, nn

from engine.models import ImageProjection, VideoUNet
from engine.pipelines import ImageToVideoPipeline
from training.loop.task import ParameterGroup, Samples
from training.recipe.model import ImageToVideoStage, Optimisation, Recipe, RecipeError
from training.stages.batches import PROBE_SEED, VideoBatch
from training.stages.clip_samples import sample_clips
from training.stages.components import Components, frozen, frozen_dtype
from training.stages.conditioning import (
    Dropped,
    PictureCondition,
    TextCondition,
    draw_captions_to_drop,
    draw_one_kind_each,
)
from training.stages.diffusion import denoising_loss, draw_noise, draw_timesteps
from training.stages.text_to_video import split_temporal
from training.stages.video_task import VideoTask

MAPPING_LAYERS = ("to_k_image", "to_v_image")
TEXT_LAYERS = ("attn_2.to_k.", "attn_2.to_v.")


class ImageToVideo(nn.Module):
    """The trained parts, so that one state dict holds them."""

    def __init__(self, unet: VideoUNet, projection: ImageProjection) -> None:
        super().__init__()
        self.unet = unet
        self.projection = projection


class ImageToVideoTask(VideoTask):
    """Denoise clips given a caption and one of their frames, and pictures given themselves."""

    section = ImageToVideoStage
    model: ImageToVideo

    @classmethod
    def of(cls, recipe: Recipe, components: Components) -> Self:
        assert isinstance(recipe.stage, ImageToVideoStage)
        return cls(recipe.stage, recipe.optimisation, recipe.seed, components)

    def __init__(
        self,
        stage: ImageToVideoStage,
        plan: Optimisation,
        seed: int = 0,
        components: Components | None = None,
    ) -> None:
        networks = components or Components()
        self.stage = stage
        super().__init__(stage, plan, seed, networks, trains_text=False)
        dtype = frozen_dtype(plan)
        text_encoder = frozen(networks.text_encoder(stage), dtype)
        vision = frozen(networks.vision(stage), dtype)
        self.model = _model(stage, networks, vision.config.hidden_size)
        networks.check_sizes(stage, self.model.unet)
        self.text = TextCondition(text_encoder, networks.tokenizer(stage.towers), stage.text_layer)
        self.picture = PictureCondition(vision, self.model.projection)

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
            if ".spatial." in name and any(n in name for n in (*MAPPING_LAYERS, *TEXT_LAYERS)):
                parameter.requires_grad_(False)
        temporal, other = split_temporal(unet)
        return [
            ParameterGroup([p for p in other if p.requires_grad]),
            ParameterGroup(temporal, self.stage.temporal_lr_scale),
        ]

    def batch_loss(self, batch: VideoBatch, rng: np.random.Generator) -> Tensor:
        count, stage = len(batch), self.stage
        if stage.both_dropout is None:
            captions = draw_captions_to_drop(rng, count, stage.caption_dropout)
            timesteps = draw_timesteps(rng, count, stage)
            dropped = Dropped(captions, torch.from_numpy(rng.random(count) < stage.image_dropout))
        else:
            timesteps = draw_timesteps(rng, count, stage)
            dropped = draw_one_kind_each(
                rng,
                count,
                caption=stage.caption_dropout,
                both=stage.both_dropout,
                picture=stage.image_dropout,
            )
        return denoising_loss(
            self.model.unet,
            self.scheduler,
            batch,
            timesteps,
            draw_noise(batch.latents, stage),
            self.text.of_batch(batch, dropped.captions),
            image=self.picture.of_batch(batch, self._condition(rng, batch), dropped.pictures),
            min_snr_gamma=stage.min_snr_gamma,
        )

    def evaluate(self) -> dict[str, float]:
        """Losses of held-out clips with their own picture, another clip's, and none."""
        batch = self.source.probe().batch.to(self.device)
        text = self.text.of(batch.captions)
        noise = draw_noise(batch.latents, self.stage, torch.Generator().manual_seed(PROBE_SEED))
        count = len(batch)
        first = [0] * count
        own = self.picture.of_batch(batch, first, torch.zeros(count, dtype=torch.bool))
        none = self.picture.of_batch(batch, first, torch.ones(count, dtype=torch.bool))
        figures = {}
        for timestep in (999, 700):
            steps = torch.full((count,), timestep, device=self.device)
            for name, image in (("own", own), ("other", own.roll(1, 0)), ("none", none)):
                loss = denoising_loss(
                    self.model.unet, self.scheduler, batch, steps, noise, text, image=image
                )
                figures[f"{name}_{timestep}"] = loss.item()
        return figures

    def prepare(self, device: torch.device) -> None:
        super().prepare(device)
        nn.Module.to(self.picture.vision, device)

    def samples(self, count: int) -> Samples | None:
        return sample_clips(
            ImageToVideoPipeline,
            self.stage,
            self.source.samples(count),
            self.device,
            tokenizer=self.text.tokenizer,
            text_encoder=self.text.encoder,
            image_encoder=self.picture.vision,
            image_projection=self.model.projection,
            unet=self.model.unet,
        )

    def components(self) -> dict[str, nn.Module]:
        return {"unet": self.model.unet, "image_projection": self.model.projection}

    def export(self, folder: Path) -> None:
        self.model.unet.save_pretrained(folder / "unet")
        self.model.projection.save_pretrained(folder / "image_projection")
        self.keep_frozen_text(folder)

    def _condition(self, rng: np.random.Generator, batch: VideoBatch) -> list[int]:
        """Choose the frame of each clip that is its condition."""
        frames = batch.latents.shape[2]
        if self.stage.condition_frame == "first" or frames == 1:
            return [0] * len(batch)
        return [int(pick) for pick in rng.integers(frames, size=len(batch))]


def _model(stage: ImageToVideoStage, networks: Components, vision_width: int) -> ImageToVideo:
    """The model to begin with: an image-to-video one, or a text-to-video one and a new mapping."""
    base = networks.unet(stage.start)
    projection = networks.projection(stage.start)
    if projection is not None:
        return ImageToVideo(base, projection)
    own = {key: value for key, value in base.config.items() if not key.startswith("_")}
    unet = VideoUNet(**own | {"image_cross_attention": True})
    left = unet.load_state_dict(base.state_dict(), strict=False)
    if left.unexpected_keys or any(
        not any(part in key for part in MAPPING_LAYERS) for key in left.missing_keys
    ):
        start = networks.model_folder(stage.start)
        raise RecipeError(f"{start / 'unet'}: not a text-to-video UNet of this layout")
    return ImageToVideo(unet, image_projection(stage, vision_width, base.config["context_dim"]))


def image_projection(stage: ImageToVideoStage, vision_width: int, width: int) -> ImageProjection:
    """A new projection net, from the vision tower's width to the UNet's.

    Raises:
        RecipeError: heads that are none.
    """
    heads = stage.projection_heads or stage.projection_dim // stage.projection_head_dim
    if heads == 0:
        raise RecipeError(
            f"stage.projection_head_dim: {stage.projection_head_dim} is more than projection_dim"
        )
    projection: ImageProjection = ImageProjection(
        dim=stage.projection_dim,
        depth=stage.projection_depth,
        dim_head=stage.projection_head_dim,
        heads=heads,
        num_queries=stage.num_queries,
        embedding_dim=vision_width,
        output_dim=width,
    )
    return projection
