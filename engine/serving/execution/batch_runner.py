"""Run a batch: from the settings of its jobs to the files on disk."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from common.out_of_memory import is_out_of_memory
from engine.serving.backends import OnStep, VideoModel
from engine.serving.cancellation import BatchInterrupted
from engine.serving.events import Cancelled, Event, Finished, Progress
from engine.serving.execution.batch import JobBatch
from engine.serving.execution.failures import concerns_all, failure_of
from engine.serving.execution.memory_planner import MemoryPlanner
from engine.serving.execution.model_memory import PeakMemory, release_memory
from engine.serving.execution.output_files import check_free_space
from engine.serving.execution.pipeline_cache import PipelineCache
from engine.serving.execution.previews import COST_SHARE, PreviewMaker
from engine.serving.execution.save_clip import save_clip
from engine.serving.execution.watchdog import Watchdog
from engine.serving.job_handle import JobHandle
from engine.serving.media.mp4 import find_ffmpeg
from engine.serving.scheduling.scheduler import batch_key
from engine.settings import EngineSettings

logger = logging.getLogger(__name__)

Report = Callable[[JobHandle, Event], None]
"""Takes the events of the jobs, as they happen; a terminal one comes once for each job.

A function and not an iterator: sampling is one call into a library, and a job that is cancelled in
it has to end before the call returns.
"""


class BatchRunner:
    """Makes clips with the models of one device; for one thread.

    Args:
        models: of the device.
        settings: the engine's.
        planner: knows what the device has memory for; learns.
        watchdog: is told of every phase.
    """

    def __init__(
        self,
        models: PipelineCache,
        settings: EngineSettings,
        planner: MemoryPlanner,
        watchdog: Watchdog,
    ) -> None:
        self._models = models
        self._settings = settings
        self._planner = planner
        self._watchdog = watchdog

    def run(self, batch: JobBatch, report: Report) -> None:
        """Make the clips of jobs that share a batch key, and report what becomes of each.

        What can be known to fail is tried first: a missing encoder, a folder that cannot be written
        to or a full disk must not show only after minutes of sampling. Each job ends by itself,
        exactly once, whatever happens to the others; a batch that runs out of memory is halved, and
        a single clip tried once more in the way that needs least. The files of a clip appear
        complete or not at all.

        Raises:
            WorkerAbandoned: the thread has been abandoned; the jobs that are left have been ended.
        """
        try:
            find_ffmpeg()
            check_free_space(
                self._settings.output_dir,
                self._settings.min_free_mb,
                private=self._settings.private_files,
            )
        except Exception as error:  # noqa: BLE001 - the jobs' boundary: logged, told to their owners
            self._fail(batch, error, report)
            return
        low_memory = self._planner.requires_low_memory(batch.remaining[0].settings)
        self._attempt(batch, report, low_memory=low_memory)

    def _attempt(self, batch: JobBatch, report: Report, *, low_memory: bool) -> None:
        """Make the clips, or find out why not and what to do about it."""
        count = len(batch.remaining)
        try:
            self._make(batch, report, low_memory=low_memory)
            return
        except BatchInterrupted:
            return
        except Exception as error:
            out_of_memory = is_out_of_memory(error)
            again = not concerns_all(error) and (count > 1 or (out_of_memory and not low_memory))
            if again:
                logger.warning(
                    "%s: %s; trying %s",
                    ", ".join(job.id for job in batch.remaining),
                    "out of memory" if out_of_memory else "failed together",
                    "in halves" if count > 1 else "once more with less memory",
                    exc_info=not out_of_memory,
                )
            else:
                self._fail(batch, error, report)
        # Outside the handler, where the traceback no longer holds the jobs' tensors.
        release_memory()
        if again and batch.remaining:
            self._attempt_smaller(batch, report, out_of_memory=out_of_memory)

    def _attempt_smaller(self, batch: JobBatch, report: Report, *, out_of_memory: bool) -> None:
        jobs = batch.remaining
        shared = jobs[0].settings
        if len(jobs) > 1:
            if out_of_memory:
                self._planner.record_oom(shared, len(jobs))
            for half in batch.halves():
                self._attempt(half, report, low_memory=False)
            return
        if out_of_memory:
            self._models.keep_only(shared.model)
            self._planner.record_low_memory(shared)
        self._attempt(batch, report, low_memory=out_of_memory)

    def _fail(self, batch: JobBatch, error: Exception, report: Report) -> None:
        for job in batch.remaining:
            self._fail_one(batch, job, error, report)

    def _fail_one(self, batch: JobBatch, job: JobHandle, error: Exception, report: Report) -> None:
        with batch.ending(job):
            pass
        smaller = self._planner.suggest_smaller(job.settings)
        report(job, failure_of(error, job.id, smaller=smaller))

    def _make(self, batch: JobBatch, report: Report, *, low_memory: bool) -> None:
        jobs = batch.remaining
        shared = jobs[0].settings
        key = batch_key(shared), len(jobs), low_memory

        def before_part(name: str) -> None:
            self._watchdog.enter_phase(f"loading {name}", shared.model.name)
            _end_cancelled(batch, report)

        _end_cancelled(batch, report)
        model = self._models.get(shared.model, before_part, low_memory=low_memory)
        _end_cancelled(batch, report)
        peak = PeakMemory(self._models.device)
        began = time.monotonic()
        try:
            self._watchdog.enter_phase("beginning to sample", key)
            on_step = self._on_step(batch, model, key, report)
            clips = model.run([job.settings.params for job in jobs], on_step)
            share_s = (time.monotonic() - began) / len(jobs)
            if not low_memory:
                self._planner.record_success(shared, len(jobs), peak.bytes)
            for job, clip in zip(jobs, clips, strict=True):
                if job in batch:
                    self._finish(batch, job, model, clip, share_s, report)
        finally:
            model.release()

    def _on_step(self, batch: JobBatch, model: VideoModel, key: object, report: Report) -> OnStep:
        jobs = batch.remaining
        total = jobs[0].settings.params.steps
        count, share = self._settings.previews_per_job, COST_SHARE / len(jobs)
        makers = [PreviewMaker(model.preview, total, count, share=share) for _ in jobs]

        def on_step(step: int, clips: Sequence[Any]) -> None:
            self._watchdog.enter_phase("sampling", key)
            _end_cancelled(batch, report)
            for job, clip, maker in zip(jobs, clips, makers, strict=True):
                if job in batch:
                    report(job, Progress(step, total, maker.after_step(step, clip)))

        return on_step

    def _finish(
        self,
        batch: JobBatch,
        job: JobHandle,
        model: VideoModel,
        clip: Any,
        sampling_s: float,
        report: Report,
    ) -> None:
        """Decode and save one clip; what goes wrong with it ends this job alone."""
        began = time.monotonic() - sampling_s

        def check() -> None:
            self._watchdog.heartbeat()  # ffmpeg has a time limit of its own
            _stop_if_cancelled(job)

        try:
            frames = self._decode(job, model, clip)
            _stop_if_cancelled(job)
            self._watchdog.enter_phase("encoding")
            ending = batch.ending(job)
            result = save_clip(job, frames, self._settings, began=began, check=check, ending=ending)
        except BatchInterrupted:
            with batch.ending(job):
                pass
            report(job, Cancelled())
        except Exception as error:  # noqa: BLE001 - the job's boundary: logged, told to its owner
            self._fail_one(batch, job, error, report)
        else:
            report(job, Finished(result))

    def _decode(self, job: JobHandle, model: VideoModel, clip: Any) -> npt.NDArray[np.uint8]:
        """Return frames [F, H, W, 3]; a second try uses least memory, when it runs out."""
        key = batch_key(job.settings)

        def check() -> None:
            self._watchdog.enter_phase("decoding", key)
            _stop_if_cancelled(job)

        try:
            return model.decode(clip, check)
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
        logger.warning("job %s: out of memory; decoding once more frame by frame", job.id)
        release_memory()
        return model.decode(clip, check, low_memory=True)


def _end_cancelled(batch: JobBatch, report: Report) -> None:
    """End the jobs that shall be cancelled. Raises BatchInterrupted if none is left."""
    for job in batch.take_cancelled():
        report(job, Cancelled())


def _stop_if_cancelled(job: JobHandle) -> None:
    if job.cancel_requested:
        raise BatchInterrupted
