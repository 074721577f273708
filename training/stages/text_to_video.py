"""Text-to-video: the UNet, on pictures alone or on pictures and clips jointly."""

from __future__ import annotations

from pathlib import Path
from typing import Self

import numpy as np
import torch
from torch import Tensor, nn
from transformers import CLIPTextModel

from engine.models import VideoUNet
from engine.pipelines import TextToVideoPipeline
from training.loop.task import ParameterGroup, Samples
from training.recipe.model import Optimisation, Recipe, TextToVideoStage
from training.stages.batches import PROBE_SEED, VideoBatch
from training.stages.clip_samples import sample_clips
from training.stages.components import Components, frozen, frozen_dtype
from training.stages.conditioning import TextCondition, draw_captions_to_drop
from training.stages.diffusion import denoising_loss, draw_noise, draw_timesteps
from training.stages.video_task import VideoTask

TEMPORAL_LAYERS = (".temporal.", ".initial_temporal.")


class TextToVideo(nn.Module):
    """The trained parts, so that one state dict holds them; ``text_encoder`` only if it is one."""

    def __init__(self, unet: VideoUNet, text_encoder: CLIPTextModel | None) -> None:
        super().__init__()
        self.unet = unet
        if text_encoder is not None:
            self.text_encoder = text_encoder


class TextToVideoTask(VideoTask):
    """Joint picture and video training (VideoCrafter1, section 3.1)."""

    section = TextToVideoStage
    model: TextToVideo

    @classmethod
    def of(cls, recipe: Recipe, components: Components) -> Self:
        assert isinstance(recipe.stage, TextToVideoStage)
        return cls(recipe.stage, recipe.optimisation, recipe.seed, components)

    def __init__(
        self,
        stage: TextToVideoStage,
        plan: Optimisation,
        seed: int = 0,
        components: Components | None = None,
    ) -> None:
        networks = components or Components()
        self.stage = stage
        self.trains_text = stage.text_lr_scale > 0
        super().__init__(stage, plan, seed, networks, trains_text=self.trains_text)
        text_encoder = networks.text_encoder(stage)
        unet = networks.text_to_video_unet(stage, text_encoder.config.hidden_size)
        networks.check_sizes(stage, unet)
        if not self.trains_text:
            text_encoder = frozen(text_encoder, frozen_dtype(plan))
        self.model = TextToVideo(unet, text_encoder if self.trains_text else None)
        self.text = TextCondition(text_encoder, networks.tokenizer(stage.towers), stage.text_layer)

    def parameter_groups(self) -> list[ParameterGroup]:
        temporal, other = split_temporal(self.model.unet)
        groups = [
            ParameterGroup(other),
            ParameterGroup(temporal, self.stage.temporal_lr_scale),
        ]
        if self.trains_text:
            text = list(self.model.text_encoder.parameters())
            groups.append(ParameterGroup(text, self.stage.text_lr_scale))
        return groups

    def batch_loss(self, batch: VideoBatch, rng: np.random.Generator) -> Tensor:
        dropped = draw_captions_to_drop(rng, len(batch), self.stage.caption_dropout)
        timesteps = draw_timesteps(rng, len(batch), self.stage)
        text = self.text.of_batch(batch, dropped)
        return denoising_loss(
            self.model.unet,
            self.scheduler,
            batch,
            timesteps,
            draw_noise(batch.latents, self.stage),
            text,
            min_snr_gamma=self.stage.min_snr_gamma,
        )

    def evaluate(self) -> dict[str, float]:
        """Losses of held-out clips with the right and a wrong caption.

        Their difference says how much the words are used; in the procedural world only the
        direction is wrong.
        """
        probe = self.source.probe()
        batch = probe.batch.to(self.device)
        right, other = self.text.of(batch.captions), self.text.of(probe.others)
        noise = draw_noise(batch.latents, self.stage, torch.Generator().manual_seed(PROBE_SEED))
        figures = {}
        for timestep in (999, 850):
            steps = torch.full((len(batch),), timestep, device=self.device)
            for name, text in (("right", right), (probe.kind, other)):
                loss = denoising_loss(self.model.unet, self.scheduler, batch, steps, noise, text)
                figures[f"{name}_{timestep}"] = loss.item()
        return figures

    def components(self) -> dict[str, nn.Module]:
        parts: dict[str, nn.Module] = {"unet": self.model.unet}
        return parts | ({"text_encoder": self.model.text_encoder} if self.trains_text else {})

    def export(self, folder: Path) -> None:
        self.model.unet.save_pretrained(folder / "unet")
        if self.trains_text:
            self.model.text_encoder.save_pretrained(folder / "text_encoder")
        else:
            self.keep_frozen_text(folder)

    def samples(self, count: int) -> Samples | None:
        return sample_clips(
            TextToVideoPipeline,
            self.stage,
            self.source.samples(count),
            self.device,
            tokenizer=self.text.tokenizer,
            text_encoder=self.text.encoder,
            unet=self.model.unet,
        )


def split_temporal(unet: VideoUNet) -> tuple[list[nn.Parameter], list[nn.Parameter]]:
    """Parameters of the temporal layers, and all others."""
    temporal: list[nn.Parameter] = []
    other: list[nn.Parameter] = []
    for name, parameter in unet.named_parameters():
        is_temporal = any(part in f".{name}" for part in TEMPORAL_LAYERS)
        (temporal if is_temporal else other).append(parameter)
    return temporal, other
