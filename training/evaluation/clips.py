"""From cases to judged clips, in batches of a pipeline."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol

import numpy as np
import numpy.typing as npt
import torch

from engine.pipelines.images import fit_to_clip_size, to_pixels
from training.data.synthetic import SyntheticScene, render
from training.evaluation.metrics.first_frame import psnr
from training.evaluation.prompts import Case
from training.evaluation.records import ClipRecord


@dataclass(frozen=True, slots=True)
class Sampling:
    """The sampling settings of all clips of an evaluation; sizes in pixels.

    ``pictures``: whether the model starts from the first frame of the scene.
    """

    steps: int
    guidance: float
    width: int
    height: int
    num_frames: int
    pictures: bool


@dataclass(frozen=True, slots=True)
class ClipJob:
    """One clip to make: a case, the seed of its noise, an fps label."""

    case: Case
    seed: int
    fps: int


class PipelineOutput(Protocol):
    """The output of a pipeline."""

    @property
    def frames(self) -> Any:
        """Float ``[B, F, 3, H, W]`` in [0, 1]."""


class ClipPipeline(Protocol):
    """The part of a pipeline's call that an evaluation uses."""

    def __call__(
        self,
        prompt: list[str],
        *,
        image: torch.Tensor | None,
        height: int,
        width: int,
        num_frames: int,
        num_inference_steps: int,
        guidance_scale: float,
        fps: list[int],
        generator: list[torch.Generator],
        output_type: Literal["pt"],
    ) -> PipelineOutput:
        """Render one clip per prompt."""


def make_clips(pipe: ClipPipeline, jobs: Sequence[ClipJob], sampling: Sampling) -> list[ClipRecord]:
    """Render the jobs in one call of the pipeline and judge the clips.

    Each clip has noise of its own, so that it does not depend on the batch it is in.

    Raises:
        ValueError: If the pipeline returns the wrong shape or number of clips.
    """
    pictures = None
    if sampling.pictures:
        pictures = torch.cat([_picture(job.case.scene, sampling) for job in jobs])
    output = pipe(
        [job.case.prompt.text for job in jobs],
        image=pictures,
        height=sampling.height,
        width=sampling.width,
        num_frames=sampling.num_frames,
        num_inference_steps=sampling.steps,
        guidance_scale=sampling.guidance,
        fps=[job.fps for job in jobs],
        generator=[torch.Generator().manual_seed(job.seed) for job in jobs],
        output_type="pt",
    )
    clips = to_bytes(output.frames)
    if len(clips) != len(jobs):
        raise ValueError(f"the pipeline made {len(clips)} clips of {len(jobs)} prompts")
    return [
        ClipRecord.of(
            clip,
            job.case.prompt,
            job.seed,
            fps=job.fps,
            first_frame_psnr=None if pictures is None else psnr(clip[0], pictures[i].numpy()),
        )
        for i, (job, clip) in enumerate(zip(jobs, clips, strict=True))
    ]


def to_bytes(frames: torch.Tensor) -> npt.NDArray[np.uint8]:
    """Quantise clips ``[B, F, 3, H, W]`` in [0, 1] to bytes; not-a-number becomes black.

    Raises:
        ValueError: If the tensor has another shape.
    """
    if frames.ndim != 5 or frames.shape[2] != 3:
        raise ValueError(f"clips must be [B, F, 3, H, W], not {list(frames.shape)}")
    # A clip that is not finite is a failed clip, for the judge to call empty, not a crash.
    clean = torch.nan_to_num(frames.detach().float().cpu(), nan=0.0).clamp(0, 1)
    pixels: npt.NDArray[np.uint8] = (clean * 255).round().to(torch.uint8).numpy()
    return pixels


def _picture(scene: SyntheticScene, sampling: Sampling) -> torch.Tensor:
    """The scene's first frame as the model receives it: ``[1, 3, H, W]`` uint8."""
    pixels = fit_to_clip_size(to_pixels(render(scene, [0])), sampling.height, sampling.width)
    return (pixels * 255).round().to(torch.uint8)
