"""The denoising loop: guidance, the network, the scheduler."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from diffusers.utils.accelerate_utils import apply_forward_hook
from torch import Tensor

from engine.models import CrossAttentionCache, VideoUNet
from engine.schedulers import Generators, SchedulerStep, VideoScheduler

Predict = Callable[[Tensor, int], Tensor]
"""``(latents [B, C, F, h, w], timestep) -> prediction``, float32 in the shape of the latents."""

OnStep = Callable[[int, int, SchedulerStep], Tensor]
"""``(index, timestep, step) -> latents`` to go on with."""


@dataclass(frozen=True, slots=True)
class Condition:
    """Text and image tokens that the network attends to, for ``B`` clips.

    Attributes:
        text: ``[B, 77, D]``.
        image: ``[B, N, D]``, or None for text-to-video.
    """

    text: Tensor
    image: Tensor | None = None


@dataclass(frozen=True, slots=True)
class Guidance:
    """Classifier-free guidance: ``negative + scale * (positive - negative)``.

    Attributes:
        scale: 1 for the positive condition alone.
        positive: the prompt.
        negative: what to steer away from; None only at scale 1.
    """

    scale: float
    positive: Condition
    negative: Condition | None


def guided_prediction(unet: VideoUNet, guidance: Guidance, fps: Tensor | None) -> Predict:
    """The network with guidance as a function of latents and timestep.

    Both conditions go through the network as one batch of double size. Their keys and values never
    change, so they are computed here, once for all steps.

    Args:
        unet: the network.
        guidance: conditions in any floating type.
        fps: ``[B]``, or None for the network's default.
    """
    positive, negative = guidance.positive, guidance.negative
    doubled = negative is not None and guidance.scale != 1
    text, image = positive.text, positive.image
    if negative is not None and doubled:
        text = torch.cat([negative.text, text])
        if image is not None and negative.image is not None:
            image = torch.cat([negative.image, image])
        fps = None if fps is None else torch.cat([fps, fps])
    context = _precompute_context(unet, text, image)

    def predict(latents: Tensor, timestep: int) -> Tensor:
        sample = (torch.cat([latents, latents]) if doubled else latents).to(unet.dtype)
        timesteps = torch.full((len(sample),), timestep, device=sample.device)
        output: Tensor = unet(sample, timesteps, context=context, fps=fps).sample.float()
        if not doubled:
            return output
        without, with_prompt = output.chunk(2)
        return without + guidance.scale * (with_prompt - without)

    return predict


def _precompute_context(unet: VideoUNet, text: Tensor, image: Tensor | None) -> CrossAttentionCache:
    # With offloading only calls that announce themselves bring the weights to the device.
    precompute = apply_forward_hook(VideoUNet.precompute_context)
    context: CrossAttentionCache = precompute(
        unet, text.to(unet.dtype), None if image is None else image.to(unet.dtype)
    )
    return context


def denoise(
    predict: Predict,
    scheduler: VideoScheduler,
    latents: Tensor,
    *,
    eta: float,
    generator: Generators | None,
    variance_noise: Tensor | None,
    on_step: OnStep,
) -> Tensor:
    """Run the scheduler from noise to clean latents.

    Args:
        predict: the guided network.
        scheduler: one of this run alone, its timesteps set.
        latents: float32 unit noise ``[B, C, F, h, w]``.
        eta: see `VideoScheduler.step`.
        generator: source of the steps' noise.
        variance_noise: the noise itself, ``[S, B, C, F, h, w]``, first entry for the first step.
        on_step: called after every step; what it returns is gone on with.
    """
    stochastic = scheduler.is_stochastic(eta)
    for index, timestep in enumerate(scheduler.timesteps.tolist()):
        seen = scheduler.scale_model_input(latents, timestep)
        prediction = predict(seen, timestep)
        replayed = variance_noise[index] if stochastic and variance_noise is not None else None
        step = scheduler.step(
            prediction,
            timestep,
            latents,
            eta=eta,
            generator=generator if replayed is None else None,
            variance_noise=replayed,
        )
        latents = on_step(index, timestep, step)
    return latents
