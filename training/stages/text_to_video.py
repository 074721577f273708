"""Stages 3 and 4: the text-to-video UNet, on pictures first, then on pictures and clips jointly."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from transformers import CLIPTextModel, CLIPTokenizer

from engine.models import VideoUNet
from engine.pipelines import TextToVideoPipeline
from engine.pipelines.text import encode_text
from training import distributed
from training.data.clips import CLIP_FRAMES
from training.recipe import Optimisation, TextToVideoStage
from training.stages.clip_samples import sample_clips
from training.stages.diffusion import (
    PROBE_SEED,
    TEXT_LAYER,
    ClipSampler,
    demo_scheduler,
    denoising_loss,
    draw_noise,
    draw_timesteps,
)
from training.task import ParameterGroup, Samples, Task

TEMPORAL_LAYERS = (".temporal.", ".initial_temporal.")


class TextToVideo(nn.Module):
    """The trained parts, so that one state dict holds them."""

    def __init__(self, unet: VideoUNet, text_encoder: CLIPTextModel) -> None:
        super().__init__()
        self.unet = unet
        self.text_encoder = text_encoder


class TextToVideoTask(Task):
    """Joint picture and video training (VideoCrafter1, section 3.1)."""

    def __init__(self, stage: TextToVideoStage, plan: Optimisation) -> None:
        self.stage = stage
        self.batch_size = distributed.share_of(plan.batch_size, plan.accumulate)
        self.scheduler = demo_scheduler()
        tokenizer = CLIPTokenizer.from_pretrained(stage.towers / "tokenizer")
        text_encoder = CLIPTextModel.from_pretrained(
            (stage.text or stage.start or stage.towers) / "text_encoder"
        )
        if stage.start is None:
            unet = VideoUNet(
                model_channels=stage.model_channels,
                channel_mult=stage.channel_mult,
                num_res_blocks=stage.num_res_blocks,
                attention_resolutions=tuple(2**i for i in range(len(stage.channel_mult))),
                num_head_channels=stage.num_head_channels,
                context_dim=text_encoder.config.hidden_size,
                temporal_length=CLIP_FRAMES,
            )
        else:
            unet = VideoUNet.from_pretrained(stage.start / "unet")
        self.model = TextToVideo(unet, text_encoder)
        self.tokenizer = tokenizer
        self.sampler = ClipSampler(stage, tokenizer, stage.vae.parent / "latents", plan.accumulate)

    def parameter_groups(self) -> list[ParameterGroup]:
        temporal, other = split_temporal(self.model.unet)
        groups = [
            ParameterGroup(other),
            ParameterGroup(temporal, self.stage.temporal_rate),
        ]
        if self.stage.text_rate > 0:
            text = list(self.model.text_encoder.parameters())
            groups.append(ParameterGroup(text, self.stage.text_rate))
        else:
            self.model.text_encoder.requires_grad_(False)
        return groups

    def loss(self, rng: np.random.Generator, step: int) -> Tensor:
        batch, pictures = self.sampler.step(rng, step, self.batch_size)
        batch = batch.to(self.device)
        timesteps = draw_timesteps(rng, len(batch.scenes), self.stage).to(self.device)
        text = encode_text(self.model.text_encoder, batch.token_ids, TEXT_LAYER)
        return denoising_loss(
            self.model.unet,
            self.scheduler,
            batch,
            timesteps,
            draw_noise(batch.latents, self.stage),
            text,
            skip_temporal=pictures,
            min_snr_gamma=self.stage.min_snr_gamma,
        )

    def evaluate(self) -> dict[str, float]:
        """Losses of held-out clips where only the caption can tell the direction.

        ``turned_t`` minus ``right_t`` says how much the direction words are used.
        """
        batch, turned_ids = self.sampler.probe()
        batch, turned_ids = batch.to(self.device), turned_ids.to(self.device)
        right = encode_text(self.model.text_encoder, batch.token_ids, TEXT_LAYER)
        turned = encode_text(self.model.text_encoder, turned_ids, TEXT_LAYER)
        noise = draw_noise(batch.latents, self.stage, torch.Generator().manual_seed(PROBE_SEED))
        figures = {}
        for timestep in (999, 850):
            steps = torch.full((len(batch.scenes),), timestep, device=self.device)
            for name, text in (("right", right), ("turned", turned)):
                loss = denoising_loss(self.model.unet, self.scheduler, batch, steps, noise, text)
                figures[f"{name}_{timestep}"] = loss.item()
        return figures

    def export(self, folder: Path) -> None:
        self.model.unet.save_pretrained(folder / "unet")
        self.model.text_encoder.save_pretrained(folder / "text_encoder")

    def samples(self, count: int) -> Samples | None:
        return sample_clips(
            TextToVideoPipeline,
            self.sampler,
            count,
            self.device,
            tokenizer=self.tokenizer,
            text_encoder=self.model.text_encoder,
            unet=self.model.unet,
        )

    def sample_size(self) -> str:
        return self.sampler.sample_size()


def split_temporal(unet: VideoUNet) -> tuple[list[nn.Parameter], list[nn.Parameter]]:
    """Parameters of the temporal layers, and all others."""
    temporal: list[nn.Parameter] = []
    other: list[nn.Parameter] = []
    for name, parameter in unet.named_parameters():
        is_temporal = any(part in f".{name}" for part in TEMPORAL_LAYERS)
        (temporal if is_temporal else other).append(parameter)
    return temporal, other
