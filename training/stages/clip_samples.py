"""Clips that a model makes while it is trained, for people to look at."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from engine.pipelines import ImageToVideoPipeline, TextToVideoPipeline
from training.loop.task import Samples
from training.recipe.model import DiffusionStage
from training.stages.batches import SampleInputs
from training.stages.components import Components
from training.stages.diffusion import make_stage_scheduler

SOLVER = "dpm++2m"
STEPS = 12
DEMO_GUIDANCE = 3.0
GUIDANCE = 9.0
"""On real data: models of the published sizes need more of it than the demo's."""
SEED = 5


def sample_clips(
    pipeline_class: type[TextToVideoPipeline] | type[ImageToVideoPipeline],
    stage: DiffusionStage,
    inputs: SampleInputs,
    device: torch.device,
    **parts: Any,
) -> Samples:
    """Sample clips of held-out captions, and their first frames, at fixed seeds.

    Args:
        pipeline_class: what to sample with.
        stage: of the recipe.
        inputs: captions, sizes and pictures.
        device: where ``parts`` are.
        parts: of the pipeline, without autoencoder and scheduler.
    """
    vae = Components().vae(stage)
    nn.Module.to(vae, device)
    pipeline: Any = pipeline_class(
        **parts,
        vae=vae,
        scheduler=make_stage_scheduler(stage.schedule, SOLVER),
        text_layer=stage.text_layer,
        shared_noise=stage.shared_noise,
    )
    pipeline.set_progress_bar_config(disable=True)
    image: dict[str, Any] = {}
    if pipeline_class is ImageToVideoPipeline:
        image["image"] = inputs.pictures
    height, width = inputs.size
    clips = pipeline(
        inputs.captions,
        **image,
        height=height,
        width=width,
        num_frames=inputs.frames,
        num_inference_steps=STEPS,
        guidance_scale=DEMO_GUIDANCE if stage.data is None else GUIDANCE,
        fps=inputs.fps,
        generator=[torch.Generator().manual_seed(SEED + n) for n in range(len(inputs.captions))],
        output_type="pt",
    ).frames
    return Samples(clips, inputs.captions)
