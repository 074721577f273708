"""The denoising objective: pure functions of a noise schedule, clean latents, noise and timesteps.

All of it holds for the forward process of the published models too, which rescales the clean latent
(VideoCrafter1, arXiv 2310.19512; see `engine.schedulers.noise_schedule`).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import isfinite

import torch
import torch.nn.functional as F
from torch import Tensor

from engine.schedulers import VideoScheduler

Predict = Callable[[Tensor, Tensor], Tensor]
"""``(noisy latents [B, C, F, h, w], timesteps [B]) -> prediction`` in the shape of the latents."""


@dataclass(frozen=True, slots=True)
class Objective:
    """One evaluation of the objective.

    Attributes:
        loss: scalar to minimise; carries the gradients.
        per_sample: ``[B]``, each sample's mean squared error, unweighted and detached.
        noisy: ``[B, C, F, h, w]``, what the network saw.
        prediction: what it said, detached.
    """

    loss: Tensor
    per_sample: Tensor
    noisy: Tensor
    prediction: Tensor


def denoising_objective(
    predict: Predict,
    scheduler: VideoScheduler,
    clean: Tensor,
    noise: Tensor,
    timesteps: Tensor,
    *,
    min_snr_gamma: float | None = None,
) -> Objective:
    """Squared error of what the network predicts of noisy latents.

    Args:
        predict: the network with its conditions.
        scheduler: the forward process, and whether noise or velocity is predicted.
        clean: ``[B, C, F, h, w]``.
        noise: unit noise of the same shape.
        timesteps: int64 ``[B]``.
        min_snr_gamma: see `min_snr_weights`; None weighs all timesteps alike, as the paper does.

    Raises:
        ValueError: timesteps that do not fit, or a ``min_snr_gamma`` out of range.
    """
    noisy = scheduler.add_noise(clean, noise, timesteps)
    prediction = predict(noisy, timesteps)
    target = denoising_target(scheduler, clean, noise, timesteps)
    if min_snr_gamma is None:
        loss = F.mse_loss(prediction, target)
    else:
        weights = min_snr_weights(scheduler, timesteps, min_snr_gamma).to(prediction)
        loss = (weights * loss_per_sample(prediction, target)).mean()
    return Objective(
        loss=loss,
        per_sample=loss_per_sample(prediction.detach(), target),
        noisy=noisy,
        prediction=prediction.detach(),
    )


def denoising_target(
    scheduler: VideoScheduler, clean: Tensor, noise: Tensor, timesteps: Tensor
) -> Tensor:
    """Return the network's target: the noise, or the velocity ``sqrt(a) eps - sqrt(1 - a) x_0``.

    The velocity (arXiv 2202.00512) is that of the variance-preserving process, so under rescale
    ``a`` is its ``abar'`` and not ``abar``.
    """
    if scheduler.prediction_type == "epsilon":
        return noise
    return scheduler.get_velocity(clean, noise, timesteps)


def loss_per_sample(prediction: Tensor, target: Tensor) -> Tensor:
    """Mean squared error of each sample, ``[B]``."""
    return (prediction - target).square().flatten(1).mean(1)


def signal_to_noise(scheduler: VideoScheduler, timesteps: Tensor) -> Tensor:
    """``abar_t s_t^2 / (1 - abar_t)``, float64 ``[B]`` on the CPU; 0 where all is noise."""
    picked = timesteps.cpu()
    alphas = scheduler.schedule.alphas_cumprod[picked]
    return alphas * scheduler.schedule.scale[picked] ** 2 / (1 - alphas)


def min_snr_weights(scheduler: VideoScheduler, timesteps: Tensor, gamma: float) -> Tensor:
    """Min-SNR weights (arXiv 2303.09556): the clean latent's error counts ``min(SNR, gamma)``.

    In terms of the predicted noise that is ``min(SNR, gamma) / SNR``, of the predicted velocity
    ``min(SNR, gamma) / (SNR + 1)``. A timestep of pure noise weighs nothing: a model that must
    learn what to begin with there, such as the demo, has to be trained without these weights.

    Args:
        scheduler: the forward process, and what is predicted.
        timesteps: int64 ``[B]``.
        gamma: above 0; the paper takes 5.

    Returns:
        float64 ``[B]`` on the CPU.

    Raises:
        ValueError: ``gamma`` is out of range.
    """
    if not (isfinite(gamma) and gamma > 0):
        raise ValueError(f"min_snr_gamma: a finite number above 0, or None, got {gamma}")
    ratio = signal_to_noise(scheduler, timesteps)
    capped = torch.clamp(ratio, max=gamma)
    return capped / (ratio if scheduler.prediction_type == "epsilon" else ratio + 1)
