"""The thread that makes clips on one device, one after another."""

from __future__ import annotations

import logging
import threading

import torch

from engine.serving.events import Cancelled, Finished, Started, Terminal
from engine.serving.failures import failure_of
from engine.serving.job import Job
from engine.serving.jobqueue import JobQueue
from engine.serving.models import PipelineCache, release_memory
from engine.serving.render import Interrupted, render
from engine.serving.settings import EngineSettings

logger = logging.getLogger(__name__)


class Worker:
    """Takes jobs until the queue is closed. Whatever a job raises ends that job, never the worker.

    Args:
        device: a torch device name; its models are loaded by this worker and stay with it.
        queue: where the jobs come from; shared with the workers of other devices.
        settings: the engine's.
    """

    def __init__(self, device: str, queue: JobQueue, settings: EngineSettings) -> None:
        self._device = device
        self._queue = queue
        self._settings = settings
        self._models = PipelineCache(device, settings.options_of)
        # A daemon, so that a program which forgot close() can still end.
        self._thread = threading.Thread(target=self._run, name=f"engine-{device}", daemon=True)

    def start(self) -> None:
        """Begin to take jobs."""
        self._thread.start()

    def join(self) -> None:
        """Wait for the thread; the queue must have been closed."""
        self._thread.join()

    def _run(self) -> None:
        if self._settings.threads is not None:
            torch.set_num_threads(self._settings.threads)
        while (job := self._queue.take()) is not None:
            job.publish(Started(self._device))
            outcome = self._outcome(job)
            # First out of the queue, then told: whoever sees the end may submit that id again.
            self._queue.done(job)
            job.publish(outcome)
        self._models.clear()

    def _outcome(self, job: Job) -> Terminal:
        """Run a job to its terminal event; never raises."""
        try:
            return Finished(render(job, self._models, self._settings))
        except Interrupted:
            return Cancelled()
        except Exception as error:  # noqa: BLE001 - the job's boundary: logged, told to its owner
            failure = failure_of(error, job.id)
        # Outside the handler, where the traceback no longer holds the job's tensors.
        release_memory()
        return Cancelled() if job.cancel_requested else failure
