"""One job from its settings to the files on disk."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from engine.pipelines import VideoPipeline
from engine.serving.encode import encode_mp4, find_ffmpeg
from engine.serving.events import GenerationResult, Progress
from engine.serving.failures import NonFiniteError
from engine.serving.job import Job
from engine.serving.models import PipelineCache
from engine.serving.output import check_free_space, clip_comment, output_paths, write_sidecar
from engine.serving.preview import PreviewMaker
from engine.serving.settings import EngineSettings


class Interrupted(Exception):  # noqa: N818 - not an error: how a cancelled job leaves its worker
    """The job was cancelled; raised between two steps and never seen outside the worker."""


def render(job: Job, models: PipelineCache, settings: EngineSettings) -> GenerationResult:
    """Make the clip of a job, publishing its progress.

    What can be known to fail is tried first: a missing encoder or a full disk must not show only
    after minutes of sampling. The files appear complete or not at all.

    Raises:
        Interrupted: the job was cancelled.
        Exception: whatever went wrong; ``failures.failure_of`` tells what to say about it.
    """
    find_ffmpeg()
    check_free_space(settings.output_dir, settings.min_free_mb)
    _stop_if_cancelled(job)
    pipeline = models.get(job.settings.model)
    _stop_if_cancelled(job)
    began = time.monotonic()
    frames = _sample(job, pipeline, settings.previews_per_job)
    _stop_if_cancelled(job)
    return _save(job, frames, began, settings)


def _stop_if_cancelled(job: Job) -> None:
    if job.cancel_requested:
        raise Interrupted


def _sample(job: Job, pipeline: VideoPipeline, previews: int) -> npt.NDArray[np.uint8]:
    """Run the pipeline; returns frames [F, H, W, 3]."""
    asked = job.settings
    output = pipeline(
        asked.prompt,
        image=asked.picture,
        negative_prompt=asked.negative_prompt,
        height=asked.height,
        width=asked.width,
        num_frames=asked.num_frames,
        num_inference_steps=asked.steps,
        guidance_scale=asked.guidance,
        eta=pipeline.scheduler.usual_eta,
        fps=asked.fps,
        # On the CPU, so that a seed means the same clip on every device.
        generator=torch.Generator("cpu").manual_seed(asked.seed),
        output_type="pt",
        callback_on_step_end=_progress_callback(job, pipeline, previews),
        callback_on_step_end_tensor_inputs=("latents", "pred_original_sample"),
    )
    return _to_bytes(output.frames[0])


def _progress_callback(
    job: Job, pipeline: VideoPipeline, previews: int
) -> Callable[[Any, int, int, dict[str, Tensor]], None]:
    total = job.settings.steps
    maker = PreviewMaker(pipeline.vae, total, previews)

    def on_step_end(_: Any, index: int, __: int, tensors: dict[str, Tensor]) -> None:
        _stop_if_cancelled(job)
        step = min(index + 1, total)
        if step == total and not bool(torch.isfinite(tensors["latents"]).all()):
            raise NonFiniteError("the sampled latents are not finite")
        job.publish(Progress(step, total, maker.after_step(step, tensors["pred_original_sample"])))

    return on_step_end


def _to_bytes(frames: Tensor) -> npt.NDArray[np.uint8]:
    """[F, 3, H, W] in [0, 1] to [F, H, W, 3], uint8."""
    if not bool(torch.isfinite(frames).all()):
        raise NonFiniteError("the decoded frames are not finite")
    rounded = (frames.float() * 255).round().clamp(0, 255).to(torch.uint8)
    result: npt.NDArray[np.uint8] = rounded.permute(0, 2, 3, 1).contiguous().cpu().numpy()
    return result


def _save(
    job: Job, frames: npt.NDArray[np.uint8], began: float, settings: EngineSettings
) -> GenerationResult:
    """Write the clip and its sidecar; neither stays without the other."""
    asked = job.settings
    comment = clip_comment(asked)
    paths = output_paths(settings.output_dir, job.id)
    try:
        encode_mp4(
            frames,
            paths.clip,
            fps=asked.playback_fps,
            crf=settings.crf,
            min_short_side=settings.min_short_side,
            comment=comment,
        )
        result = GenerationResult(
            job_id=job.id,
            path=paths.clip,
            sidecar=paths.sidecar,
            model=asked.model.name,
            model_revision=asked.model.revision,
            seed=asked.seed,
            steps=asked.steps,
            fps=asked.fps,
            guidance=asked.guidance,
            width=asked.width,
            height=asked.height,
            num_frames=len(frames),
            duration_s=len(frames) / asked.playback_fps,
            elapsed_s=time.monotonic() - began,
            prompt=asked.prompt,
            negative_prompt=asked.negative_prompt,
        )
        write_sidecar(result, comment)
        _stop_if_cancelled(job)
    except BaseException:
        paths.clip.unlink(missing_ok=True)
        paths.sidecar.unlink(missing_ok=True)
        raise
    return result
