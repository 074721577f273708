"""Text-to-video: the UNet, on pictures alone or on pictures and clips jointly."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from transformers import CLIPTextModel

from engine.models import VideoUNet
from engine.pipelines import TextToVideoPipeline
from training.loop.task import ParameterGroup, Samples, Task
from training.recipe.model import Optimisation, TextToVideoStage
from training.stages.batches import PROBE_SEED
from training.stages.clip_samples import sample_clips
from training.stages.conditions import TextCondition, draw_captions_to_drop
from training.stages.diffusion import (
    denoising_loss,
    draw_noise,
    draw_timesteps,
    make_stage_scheduler,
)
from training.stages.latents import LatentSource
from training.stages.parts import (
    check_sizes,
    frozen,
    frozen_dtype,
    keep_frozen_text,
    load_text,
    load_tokenizer,
    text_to_video_unet,
)
from training.stages.sources import make_source

TEMPORAL_LAYERS = (".temporal.", ".initial_temporal.")


class TextToVideo(nn.Module):
    """The trained parts, so that one state dict holds them; ``text_encoder`` only if it is one."""

    def __init__(self, unet: VideoUNet, text_encoder: CLIPTextModel | None) -> None:
        super().__init__()
        self.unet = unet
        if text_encoder is not None:
            self.text_encoder = text_encoder


class TextToVideoTask(Task):
    """Joint picture and video training (VideoCrafter1, section 3.1)."""

    model: TextToVideo

    def __init__(self, stage: TextToVideoStage, plan: Optimisation, seed: int = 0) -> None:
        self.stage = stage
        self.trains_text = stage.text_rate > 0
        self.scheduler = make_stage_scheduler(stage.schedule)
        text_encoder = load_text(stage)
        unet = text_to_video_unet(stage, text_encoder.config.hidden_size)
        check_sizes(stage, unet)
        if not self.trains_text:
            text_encoder = frozen(text_encoder, frozen_dtype(plan))
        self.model = TextToVideo(unet, text_encoder if self.trains_text else None)
        self.source = make_source(stage, plan, seed=seed, frozen_text=not self.trains_text)
        self.text = TextCondition(
            text_encoder,
            load_tokenizer(stage),
            stage.text_layer,
            empty=self.source.empty_text if isinstance(self.source, LatentSource) else None,
        )

    def parameter_groups(self) -> list[ParameterGroup]:
        temporal, other = split_temporal(self.model.unet)
        groups = [
            ParameterGroup(other),
            ParameterGroup(temporal, self.stage.temporal_rate),
        ]
        if self.trains_text:
            text = list(self.model.text_encoder.parameters())
            groups.append(ParameterGroup(text, self.stage.text_rate))
        return groups

    def loss(self, rng: np.random.Generator, step: int) -> Tensor:
        batch = self.source.batch(rng, step).to(self.device)
        dropped = draw_captions_to_drop(rng, len(batch), self.stage.caption_dropout)
        timesteps = draw_timesteps(rng, len(batch), self.stage).to(self.device)
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

    def prepare(self, device: torch.device) -> None:
        super().prepare(device)
        nn.Module.to(self.text.encoder, device)
        self.source.prepare(device)

    def export(self, folder: Path) -> None:
        self.model.unet.save_pretrained(folder / "unet")
        if self.trains_text:
            self.model.text_encoder.save_pretrained(folder / "text_encoder")
        else:
            keep_frozen_text(self.stage, folder)

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

    def sample_size(self) -> str:
        return self.source.sample_size()

    def counts(self) -> dict[str, float]:
        return self.source.counts()

    def close(self) -> None:
        self.source.close()


def split_temporal(unet: VideoUNet) -> tuple[list[nn.Parameter], list[nn.Parameter]]:
    """Parameters of the temporal layers, and all others."""
    temporal: list[nn.Parameter] = []
    other: list[nn.Parameter] = []
    for name, parameter in unet.named_parameters():
        is_temporal = any(part in f".{name}" for part in TEMPORAL_LAYERS)
        (temporal if is_temporal else other).append(parameter)
    return temporal, other
