"""Evaluating a text-to-video pipeline with the judge."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Literal, Protocol

import numpy as np
import numpy.typing as npt
import torch

from training.evaluation.prompts import Prompt
from training.evaluation.report import ClipRecord, Report
from training.judge import judge


class PipelineOutput(Protocol):
    """What a pipeline returns."""

    @property
    def frames(self) -> Any:
        """Float ``[B, F, 3, H, W]`` in [0, 1]."""


class TextToVideo(Protocol):
    """The part of the text-to-video pipeline's call that an evaluation uses."""

    def __call__(
        self,
        prompt: list[str],
        *,
        num_inference_steps: int,
        guidance_scale: float,
        fps: int,
        generator: list[torch.Generator],
        output_type: Literal["pt"],
    ) -> PipelineOutput:
        """Render one clip per prompt."""


def evaluate_text_to_video(
    pipe: TextToVideo,
    prompts: Sequence[Prompt],
    seeds: Sequence[int],
    *,
    steps: int,
    guidance: float,
    fps: int,
    batch_size: int = 8,
    on_progress: Callable[[int, int], None] | None = None,
) -> Report:
    """Render every prompt once per seed, judge the clips, and report.

    The clip of prompt i and seed s starts from the noise of seed ``s + i``, so that no two
    prompts share theirs; the report gives the seed used.

    Args:
        pipe: The pipeline, on its device and in evaluation mode.
        prompts: What to render; :func:`draw_prompts` gives some.
        seeds: One clip per prompt for each.
        steps: Sampling steps.
        guidance: Guidance scale.
        fps: The fps label of all clips.
        batch_size: Clips per call of the pipeline.
        on_progress: Called after each batch with the clips done and the clips in all.

    Raises:
        ValueError: If there is nothing to render, or the pipeline returns the wrong shape.
    """
    if not prompts or not seeds or batch_size < 1:
        raise ValueError("an evaluation needs prompts, seeds, and a batch size of 1 or more")
    jobs = [(prompt, (seed + i) % 2**32) for seed in seeds for i, prompt in enumerate(prompts)]
    clips: list[ClipRecord] = []
    frames: list[npt.NDArray[np.uint8]] = []
    for start in range(0, len(jobs), batch_size):
        batch = jobs[start : start + batch_size]
        output = pipe(
            [prompt.text for prompt, _ in batch],
            num_inference_steps=steps,
            guidance_scale=guidance,
            fps=fps,
            generator=[torch.Generator().manual_seed(seed) for _, seed in batch],
            output_type="pt",
        )
        pixels = to_bytes(output.frames)
        if len(pixels) != len(batch):
            raise ValueError(f"the pipeline made {len(pixels)} clips of {len(batch)} prompts")
        frames.append(pixels)
        clips += [
            ClipRecord(prompt, seed, judge(clip))
            for (prompt, seed), clip in zip(batch, pixels, strict=True)
        ]
        if on_progress is not None:
            on_progress(len(clips), len(jobs))
    settings = {"steps": steps, "guidance": guidance, "fps": fps, "prompts": len(prompts)}
    return Report(settings, tuple(clips), np.concatenate(frames))


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
