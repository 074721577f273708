"""Jobs of one batch, from their settings to the files on disk."""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from common.out_of_memory import is_out_of_memory
from engine.pipelines import VideoPipeline, decode_latents
from engine.serving.cancellation import Interrupted
from engine.serving.events import Cancelled, Finished, GenerationResult, Progress
from engine.serving.execution.batch import Commit, Party, Settle
from engine.serving.execution.failures import (
    NonFiniteError,
    concerns_all,
    failure_of,
)
from engine.serving.execution.memory import decode_frugally
from engine.serving.execution.memory_planner import Capacity
from engine.serving.execution.output_files import check_free_space
from engine.serving.execution.pipeline_cache import PipelineCache, release_memory
from engine.serving.execution.previews import COST_SHARE, PreviewMaker
from engine.serving.execution.sampling import OnStep, sample
from engine.serving.execution.save_clip import save_clip
from engine.serving.execution.watchdog import Watch
from engine.serving.job_handle import Job
from engine.serving.media.mp4 import find_ffmpeg
from engine.serving.scheduling.scheduler import batch_key
from engine.settings import EngineSettings

logger = logging.getLogger(__name__)


class Renderer:
    """Makes clips with the models of one device; for one thread.

    Args:
        models: of the device.
        settings: the engine's.
        capacity: what the device has memory for; learns.
        watch: is told what is being done.
        settle: ends a job.
    """

    def __init__(
        self,
        models: PipelineCache,
        settings: EngineSettings,
        capacity: Capacity,
        watch: Watch,
        settle: Settle,
    ) -> None:
        self._models = models
        self._settings = settings
        self._capacity = capacity
        self._watch = watch
        self._settle = settle

    def render(self, jobs: Sequence[Job]) -> None:
        """Make the clips of jobs that share a batch key, publishing their progress.

        What can be known to fail is tried first: a missing encoder, a folder that cannot be written
        to or a full disk must not show only after minutes of sampling. Each job ends by itself,
        exactly once, whatever happens to the others; a batch that runs out of memory is halved, and
        a single clip tried once more in the way that needs least. The files of a clip appear
        complete or not at all.

        Raises:
            Abandoned: the thread has been given up; the jobs that are left have been ended.
        """
        party = Party(jobs, self._settle)
        try:
            find_ffmpeg()
            check_free_space(
                self._settings.output_dir,
                self._settings.min_free_mb,
                private=self._settings.private_files,
            )
        except Exception as error:  # noqa: BLE001 - the jobs' boundary: logged, told to their owners
            self._fail(party, error)
            return
        self._attempt(party, frugal=self._capacity.is_tight(jobs[0].settings))

    def _attempt(self, party: Party, *, frugal: bool) -> None:
        """Make the clips, or find out why not and what to do about it."""
        count = len(party.left)
        try:
            self._make(party, frugal=frugal)
            return
        except Interrupted:
            return
        except Exception as error:
            out_of_memory = is_out_of_memory(error)
            again = not concerns_all(error) and (count > 1 or (out_of_memory and not frugal))
            if again:
                logger.warning(
                    "%s: %s; trying %s",
                    ", ".join(job.id for job in party.left),
                    "out of memory" if out_of_memory else "failed together",
                    "in halves" if count > 1 else "once more with less memory",
                    exc_info=not out_of_memory,
                )
            else:
                self._fail(party, error)
        # Outside the handler, where the traceback no longer holds the jobs' tensors.
        release_memory()
        if again and party.left:
            self._attempt_smaller(party, out_of_memory=out_of_memory)

    def _attempt_smaller(self, party: Party, *, out_of_memory: bool) -> None:
        jobs = party.left
        shared = jobs[0].settings
        if len(jobs) > 1:
            if out_of_memory:
                self._capacity.too_many(shared, len(jobs))
            half = len(jobs) // 2
            for part in (jobs[:half], jobs[half:]):
                self._attempt(Party(part, self._settle), frugal=False)
            return
        if out_of_memory:
            self._models.keep_only(shared.model)
            self._capacity.needs_frugal(shared)
        self._attempt(party, frugal=out_of_memory)

    def _fail(self, party: Party, error: Exception) -> None:
        for job in party.left:
            smaller = self._capacity.smaller(job.settings)
            party.end(job, failure_of(error, job.id, smaller=smaller))

    def _make(self, party: Party, *, frugal: bool) -> None:
        jobs = party.left
        shared = jobs[0].settings
        key = batch_key(shared), len(jobs), frugal

        def before_part(name: str) -> None:
            self._watch.begin(f"loading {name}", shared.model.name)
            party.end_cancelled()

        party.end_cancelled()
        pipeline = self._models.get(shared.model, before_part, frugal=frugal)
        party.end_cancelled()
        device = torch.device(self._models.device)
        before = _start_measuring(device)
        began = time.monotonic()
        try:
            self._watch.begin("beginning to sample", key)
            latents = sample(jobs, pipeline, self._on_step(party, pipeline, key))
            part = (time.monotonic() - began) / len(jobs)
            if not frugal:
                self._capacity.made(shared, len(jobs), _peak(device, before))
            for index, job in enumerate(jobs):
                if party.has(job):
                    self._finish(party, job, pipeline, latents[index : index + 1], part)
        finally:
            # Offloaded weights that the decoding has fetched.
            pipeline.maybe_free_model_hooks()  # type: ignore[no-untyped-call]

    def _on_step(self, party: Party, pipeline: VideoPipeline, key: object) -> OnStep:
        jobs = party.left
        total = jobs[0].settings.params.steps
        count, share = self._settings.previews_per_job, COST_SHARE / len(jobs)
        makers = [PreviewMaker(pipeline.vae, total, count, share=share) for _ in jobs]

        def on_step(step: int, latents: Tensor) -> None:
            self._watch.begin("sampling", key)
            party.end_cancelled()
            for index, job in enumerate(jobs):
                if party.has(job):
                    preview = makers[index].after_step(step, latents[index : index + 1])
                    job.publish(Progress(step, total, preview))

        return on_step

    def _finish(
        self, party: Party, job: Job, pipeline: VideoPipeline, latents: Tensor, sampling_s: float
    ) -> None:
        """Decode and save one clip; what goes wrong with it ends this job alone."""
        try:
            if not bool(torch.isfinite(latents).all()):
                raise NonFiniteError("the sampled latents are not finite")
            began = time.monotonic()
            frames = self._decode(job, pipeline, latents)
            _stop_if_cancelled(job)
            self._save(party, job, frames, began - sampling_s)
        except Interrupted:
            party.end(job, Cancelled())
        except Exception as error:  # noqa: BLE001 - the job's boundary: logged, told to its owner
            smaller = self._capacity.smaller(job.settings)
            party.end(job, failure_of(error, job.id, smaller=smaller))

    def _decode(self, job: Job, pipeline: VideoPipeline, latents: Tensor) -> npt.NDArray[np.uint8]:
        """Frames [F, H, W, 3]; a second time frame by frame, when memory runs out."""
        key = batch_key(job.settings)

        def before_chunk() -> None:
            self._watch.begin("decoding", key)
            _stop_if_cancelled(job)

        try:
            return _to_bytes(decode_latents(pipeline.vae, latents, before_chunk=before_chunk)[0])
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
        logger.warning("job %s: out of memory; decoding once more frame by frame", job.id)
        release_memory()
        decode_frugally(pipeline.vae)
        return _to_bytes(decode_latents(pipeline.vae, latents, 1, before_chunk=before_chunk)[0])

    def _save(self, party: Party, job: Job, frames: npt.NDArray[np.uint8], began: float) -> None:
        self._watch.begin("encoding")

        def check() -> None:
            self._watch.alive()  # ffmpeg has a time limit of its own
            _stop_if_cancelled(job)

        def end(result: GenerationResult, commit: Commit) -> None:
            party.end(job, Finished(result), commit)

        save_clip(job, frames, self._settings, began=began, check=check, end=end)


def _stop_if_cancelled(job: Job) -> None:
    if job.cancel_requested:
        raise Interrupted


def _start_measuring(device: torch.device) -> int:
    """Bytes that are in use on a GPU before it samples."""
    if device.type != "cuda":
        return 0
    torch.cuda.reset_peak_memory_stats(device)
    return int(torch.cuda.memory_allocated(device))


def _peak(device: torch.device, before: int) -> int | None:
    """Bytes that sampling took on a GPU; None where nobody counts them."""
    if device.type != "cuda":
        return None
    return int(torch.cuda.max_memory_allocated(device)) - before


def _to_bytes(frames: Tensor) -> npt.NDArray[np.uint8]:
    """[F, 3, H, W] in [0, 1] to [F, H, W, 3], uint8."""
    if not bool(torch.isfinite(frames).all()):
        raise NonFiniteError("the decoded frames are not finite")
    rounded = (frames.float() * 255).round().clamp(0, 255).to(torch.uint8)
    result: npt.NDArray[np.uint8] = rounded.permute(0, 2, 3, 1).contiguous().cpu().numpy()
    return result
