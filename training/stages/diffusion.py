"""The parts of training that the two video models share: noise, timesteps and loss."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from engine.models import VideoUNet
from engine.pipelines.text import TextLayer
from engine.schedulers import clip_noise, make_scheduler
from engine.schedulers.base import VideoScheduler
from training.recipe.model import DiffusionStage
from training.recipe.sections import ScheduleConfig
from training.stages.batches import VideoBatch
from training.stages.objective import denoising_objective

TEXT_LAYER: TextLayer = "penultimate"
HIGH_NOISE = 0.6
TOP_NOISE = 0.94


def make_stage_scheduler(config: ScheduleConfig, name: str = "ddim") -> VideoScheduler:
    """The forward process of a stage, with a solver that can sample from it.

    The demo's predicts the velocity and has pure noise at the last step: a small latent keeps its
    mean colour at the released schedule's last timestep, so that without pure noise there sampling
    could not choose it (arXiv 2305.08891).
    """
    return make_scheduler(
        name,
        config.rescale_to,
        prediction_type=config.prediction,
        rescale_betas_zero_snr=config.zero_terminal_snr,
        # Only so does sampling begin at the timestep that is pure noise.
        timestep_spacing="trailing" if config.zero_terminal_snr else None,
    )


def draw_timesteps(rng: np.random.Generator, count: int, stage: DiffusionStage) -> Tensor:
    """Uniform over 0..999, but with the stage's shares from the upper 6 and 40 %."""
    uniform = rng.uniform(size=count)
    kind = rng.random(size=count)
    lowest = np.where(kind < stage.high_noise_share, HIGH_NOISE, 0.0)
    lowest = np.where(kind < stage.top_noise_share, TOP_NOISE, lowest)
    position = lowest + (1 - lowest) * uniform
    return torch.from_numpy((position * 1000).astype(np.int64)).clamp(max=999)


def draw_noise(
    like: Tensor, stage: DiffusionStage, generator: torch.Generator | None = None
) -> Tensor:
    """Unit noise for clips ``[B, C, F, h, w]``, as the stage's pipeline will start from."""
    return clip_noise(like.shape, generator, like.device, shared=stage.shared_noise)


def denoising_loss(
    unet: VideoUNet,
    scheduler: VideoScheduler,
    batch: VideoBatch,
    timesteps: Tensor,
    noise: Tensor,
    text: Tensor,
    *,
    image: Tensor | None = None,
    min_snr_gamma: float | None = None,
) -> Tensor:
    """The objective of `training.stages.objective` for a batch and its conditions.

    Pictures skip the temporal layers, which so get no gradient at all. ``timesteps`` may stay on
    the CPU, where the schedule is.
    """

    def predict(noisy: Tensor, timesteps: Tensor) -> Tensor:
        predicted: Tensor = unet(
            noisy,
            timesteps.to(noisy.device),
            text,
            fps=batch.fps,
            image_hidden_states=image,
            skip_temporal=batch.pictures,
        ).sample
        return predicted

    objective = denoising_objective(
        predict, scheduler, batch.latents, noise, timesteps, min_snr_gamma=min_snr_gamma
    )
    return objective.loss
