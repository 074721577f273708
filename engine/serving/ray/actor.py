"""Render actor: one device of the cluster, its models, and a worker for them."""

from __future__ import annotations

import os
import socket
import threading
from collections import deque
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

import torch

from engine.checkpoints.catalog import ModelCard
from engine.checkpoints.errors import ModelLoadError
from engine.serving.backends import BackendRegistry
from engine.serving.events import Event, Finished, Terminal
from engine.serving.execution.failures import failure_of
from engine.serving.job_handle import JobHandle
from engine.serving.ray.batch_queue import BatchQueue
from engine.serving.ray.logs import Forward
from engine.serving.ray.protocol import (
    ClipFiles,
    JobEvent,
    JobOrder,
    LogLine,
    WorkerInfo,
    WorkerUpdate,
)
from engine.serving.workers.devices import device_kind
from engine.serving.workers.supervisor import WorkerSupervisor
from engine.settings import EngineSettings

CALLS_AT_ONCE: Final = 4
"""Threads that answer calls: one waits for an update, and the others must not wait for it."""

_LINES_KEPT: Final = 1000


class RenderActor:
    """Renders the batches it is sent, as a worker of the engine's own machine would.

    Clips are written to a temporary folder and sent back with the event that ends their job. The
    methods are called by Ray, several at once.

    Args:
        settings: the engine's.
        on_gpu: whether the cluster has given this actor a GPU.
        warm_up: models that are loaded before the first job is taken.
        backends: the model families.

    Raises:
        RuntimeError: torch finds no GPU where there should be one.
    """

    def __init__(
        self,
        settings: EngineSettings,
        on_gpu: bool,
        warm_up: Sequence[ModelCard] = (),
        backends: BackendRegistry | None = None,
    ) -> None:
        self._changed = threading.Condition()
        self._events: list[JobEvent] = []
        self._lines: deque[LogLine] = deque(maxlen=_LINES_KEPT)
        Forward(self._log).install()
        if on_gpu and not torch.cuda.is_available():
            raise RuntimeError(f"PyTorch finds no GPU on {socket.gethostname()}")
        # Ray shows an actor no other GPU than its own.
        self._device = "cuda:0" if on_gpu else "cpu"
        self._folder = TemporaryDirectory(prefix="floor33-", ignore_cleanup_errors=True)
        settings = settings.model_copy(update={"output_dir": Path(self._folder.name)})
        self._jobs: dict[str, JobHandle] = {}
        self._batches = BatchQueue()
        self._worker = WorkerSupervisor(self._device, self._batches, settings, backends=backends)
        self._worker.warm_up([card for card in warm_up if not _missing(card)])
        self._worker.start()

    def info(self) -> WorkerInfo:
        """Return machine and device; the answer says that the actor is ready for jobs."""
        return WorkerInfo(
            socket.gethostname(), os.getpid(), self._device, device_kind(self._device)
        )

    def take(self, orders: Sequence[JobOrder]) -> None:
        """Begin with jobs of one batch key; what becomes of them is in the updates."""
        jobs = [self._job(order) for order in orders]
        missing = _missing(jobs[0].settings.model)
        if missing is None:
            self._batches.put(jobs)
            return
        for job in jobs:
            job.publish(failure_of(ModelLoadError(missing), job.id))

    def cancel(self, job_ids: Sequence[str]) -> None:
        """End jobs within a step; those that have ended are left alone."""
        with self._changed:
            jobs = [self._jobs[job_id] for job_id in job_ids if job_id in self._jobs]
        for job in jobs:
            job.cancel()

    def update(self, wait_s: float) -> WorkerUpdate:
        """Return what has happened since the last call; waits so long at most for something."""
        with self._changed:
            self._changed.wait_for(lambda: self._events or self._lines, wait_s)
            events, self._events = tuple(self._events), []
            lines = tuple(self._lines)
            self._lines.clear()
        return WorkerUpdate(events, lines, self._worker.status(), self._batches.limits)

    def end(self) -> None:
        """Throw away what is being made, and leave nothing on this machine's disk."""
        self._batches.close()
        with self._changed:
            jobs = tuple(self._jobs.values())
        for job in jobs:
            job.cancel()
        self._worker.join()
        self._folder.cleanup()

    def _job(self, order: JobOrder) -> JobHandle:
        job = JobHandle(order.job_id, order.settings, self._batches.discard)
        with self._changed:
            self._jobs[job.id] = job
        job.subscribe(lambda event: self._tell(job, event))
        return job

    def _tell(self, job: JobHandle, event: Event) -> None:
        files = None
        if isinstance(event, Finished):
            try:
                files = _fetch(event)
            except OSError as error:
                event = failure_of(error, job.id)
        with self._changed:
            if isinstance(event, Terminal):
                del self._jobs[job.id]
            self._events.append(JobEvent(job.id, event, files))
            self._changed.notify_all()

    def _log(self, line: LogLine) -> None:
        with self._changed:
            self._lines.append(line)
            self._changed.notify_all()


def _fetch(event: Finished) -> ClipFiles:
    """Return the files of a finished job, which are taken off the disk. Raises OSError."""
    paths = event.result.path, event.result.sidecar
    clip, sidecar = (path.read_bytes() for path in paths)
    for path in paths:
        path.unlink()
    return ClipFiles(clip, sidecar)


def _missing(card: ModelCard) -> str | None:
    """Return the part of a model that this machine does not have, for the operator."""
    for path in (card.path, *(source.path for source in card.loras)):
        if not path.exists():
            return (
                f"{card.name}: {path} does not exist on {socket.gethostname()}; models have to "
                "lie at the same path on every machine of the cluster"
            )
    return None
