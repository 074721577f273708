"""Write a decoded clip to its files."""

from __future__ import annotations

import time
from contextlib import AbstractContextManager
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from engine.serving.cancellation import Check
from engine.serving.events import GenerationResult
from engine.serving.execution.output_files import (
    clip_comment,
    output_paths,
    publish_files,
    staged,
    write_sidecar,
)
from engine.serving.job_handle import JobHandle
from engine.serving.media.mp4 import encode_mp4
from engine.settings import EngineSettings


def save_clip(
    job: JobHandle,
    frames: npt.NDArray[np.uint8],
    settings: EngineSettings,
    *,
    began: float,
    check: Check,
    ending: AbstractContextManager[None],
) -> GenerationResult:
    """Write the clip and its sidecar; neither stays without the other.

    Args:
        job: the clip's job.
        frames: [F, H, W, 3], RGB.
        settings: the engine's.
        began: the start of the rendering of this clip, by ``time.monotonic()``.
        check: called while ffmpeg runs and before the end; what it raises leaves nothing.
        ending: entered while the complete files are given their names; what it raises leaves
            nothing either.

    Raises:
        EncodeError: ffmpeg failed.
        OSError: the files cannot be written.
    """
    asked = job.settings
    paths = output_paths(settings.output_dir, job.id, private=settings.private_files)
    with staged(paths) as hidden:
        encode_mp4(
            frames,
            hidden.clip,
            fps=asked.playback_fps,
            crf=settings.crf,
            min_short_side=settings.min_short_side,
            comment=clip_comment(asked, with_prompt=settings.prompt_in_metadata),
            check=check,
        )
        result = GenerationResult(
            job_id=job.id,
            params=replace(asked.params.without_image(), num_frames=len(frames)),
            model_revision=asked.model.revision,
            path=paths.clip,
            sidecar=paths.sidecar,
            duration_s=len(frames) / asked.playback_fps,
            elapsed_s=time.monotonic() - began,
            unread=asked.unread,
            unread_negative=asked.unread_negative,
        )
        write_sidecar(hidden.sidecar, result, clip_comment(asked))
        check()
        with ending:
            publish_files(hidden, paths, private=settings.private_files)
    return result
