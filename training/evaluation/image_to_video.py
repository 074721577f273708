"""Evaluating an image-to-video pipeline: is the picture kept, and does it move as told?"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Literal, Protocol

import numpy as np
import numpy.typing as npt
import torch

from training.data.world import Scene, render, sample_scene
from training.evaluation.prompts import Prompt, describe
from training.evaluation.report import ClipRecord, Report
from training.evaluation.text_to_video import PipelineOutput, to_bytes
from training.judge import judge


class ImageToVideo(Protocol):
    """The part of the image-to-video pipeline's call that an evaluation uses."""

    def __call__(
        self,
        prompt: list[str],
        *,
        image: torch.Tensor,
        num_inference_steps: int,
        guidance_scale: float,
        fps: int,
        generator: list[torch.Generator],
        output_type: Literal["pt"],
    ) -> PipelineOutput:
        """Render one clip per prompt and picture."""


def draw_pictures(n: int, seed: int) -> tuple[tuple[Scene, Prompt], ...]:
    """Draw scenes, whose first frames are the pictures, and prompts that say how they go on."""
    rng = np.random.default_rng(seed)
    scenes = [sample_scene(rng) for _ in range(n)]
    return tuple((scene, describe(scene, rng)) for scene in scenes)


def evaluate_image_to_video(
    pipe: ImageToVideo,
    pictures: Sequence[tuple[Scene, Prompt]],
    seed: int,
    *,
    steps: int,
    guidance: float,
    fps: int,
    batch_size: int = 8,
    on_progress: Callable[[int, int], None] | None = None,
) -> Report:
    """Animate every picture once, judge the clips, and report.

    The report's settings hold ``first_frame_psnr``: the mean over the clips of the peak
    signal-to-noise ratio (dB) of the first frame against the picture.

    Args:
        pipe: the pipeline, on its device and in evaluation mode.
        pictures: :func:`draw_pictures` gives some.
        seed: clip i starts from the noise of seed ``seed + i``.
        steps: sampling steps.
        guidance: guidance scale.
        fps: the fps label of all clips.
        batch_size: clips per call of the pipeline.
        on_progress: called after each batch with the clips done and the clips in all.

    Raises:
        ValueError: there is nothing to render.
    """
    if not pictures:
        raise ValueError("an evaluation needs pictures")
    clips: list[ClipRecord] = []
    frames: list[npt.NDArray[np.uint8]] = []
    psnrs: list[float] = []
    for start in range(0, len(pictures), batch_size):
        batch = pictures[start : start + batch_size]
        first = torch.cat([render(scene, [0]) for scene, _ in batch])  # [B, 3, H, W] uint8
        output = pipe(
            [prompt.text for _, prompt in batch],
            image=first,
            num_inference_steps=steps,
            guidance_scale=guidance,
            fps=fps,
            generator=[torch.Generator().manual_seed(seed + start + i) for i in range(len(batch))],
            output_type="pt",
        )
        pixels = to_bytes(output.frames)
        frames.append(pixels)
        for index, (_, prompt) in enumerate(batch):
            clips.append(ClipRecord(prompt, seed + start + index, judge(pixels[index])))
            psnrs.append(psnr(pixels[index, 0], first[index].numpy()))
        if on_progress is not None:
            on_progress(len(clips), len(pictures))
    settings = {
        "steps": steps,
        "guidance": guidance,
        "fps": fps,
        "prompts": len(pictures),
        "first_frame_psnr": sum(psnrs) / len(psnrs),
    }
    return Report(settings, tuple(clips), np.concatenate(frames))


def psnr(ours: npt.NDArray[np.uint8], theirs: npt.NDArray[np.uint8]) -> float:
    """Peak signal-to-noise ratio of two byte pictures in dB, at most 100."""
    error = float(np.mean((ours.astype(np.float64) - theirs.astype(np.float64)) ** 2))
    return min(100.0, 10 * math.log10(255**2 / error)) if error > 0 else 100.0
