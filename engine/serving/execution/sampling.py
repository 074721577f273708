"""From the settings of several jobs to the latents of their clips, in one call of a pipeline."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from engine.pipelines import VideoPipeline
from engine.serving.job_handle import Job

OnStep = Callable[[int, Tensor], None]
"""``(step, latents)``: step 1, 2, … is done; the clean latents [B, 4, F, h, w] as far as known."""


def sample(jobs: Sequence[Job], pipeline: VideoPipeline, on_step: OnStep) -> Tensor:
    """Sample the clips of jobs that share a batch key; what ``on_step`` raises ends it.

    Every clip has its own generator on the CPU, so it begins from the same noise whatever device
    it is made on and whatever company it is in. What else it depends on is rounding: a batch adds
    up in another order than a single clip, where the library for matrix products chooses so.

    Returns:
        Latents [B, 4, F, h, w], in the order of the jobs.
    """
    wishes = [job.settings.params for job in jobs]
    shared = wishes[0]
    pictures = [wish.image for wish in wishes]
    # No list where nobody steers away from anything: the empty text is then encoded once.
    negative = [wish.negative_prompt or "" for wish in wishes]

    def on_step_end(_: Any, index: int, __: int, tensors: dict[str, Tensor]) -> None:
        on_step(min(index + 1, shared.steps), tensors["pred_original_sample"])

    output = pipeline(
        [wish.prompt for wish in wishes],
        image=None if shared.image is None else pictures,
        negative_prompt=negative if any(negative) else None,
        height=shared.height,
        width=shared.width,
        num_frames=shared.num_frames,
        num_inference_steps=shared.steps,
        guidance_scale=shared.guidance,
        eta=pipeline.scheduler.default_eta,
        fps=[wish.fps for wish in wishes],
        generator=[torch.Generator("cpu").manual_seed(wish.seed) for wish in wishes],
        output_type="latent",
        callback_on_step_end=on_step_end,
        callback_on_step_end_tensor_inputs=("pred_original_sample",),
    )
    latents: Tensor = output.frames
    return latents
