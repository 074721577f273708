"""What runs on the machines of the cluster: one device, its models, and a worker for them."""

from __future__ import annotations

import os
import socket
import threading
from collections import deque
from collections.abc import Sequence
from dataclasses import replace
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
from engine.serving.ray.inbox import BatchQueue
from engine.serving.ray.logs import Forward
from engine.serving.ray.protocol import (
    ClipFiles,
    JobEvent,
    JobOrder,
    LogLine,
    WorkerInfo,
    WorkerUpdate,
)
from engine.serving.settings import EngineSettings
from engine.serving.workers.devices import device_kind
from engine.serving.workers.supervisor import WorkerSupervisor

CALLS_AT_ONCE: Final = 4
"""Threads that answer calls: one waits for news, and the others must not wait for it."""

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
        self._told: list[JobEvent] = []
        self._lines: deque[LogLine] = deque(maxlen=_LINES_KEPT)
        Forward(self._log).install()
        if on_gpu and not torch.cuda.is_available():
            raise RuntimeError(f"PyTorch finds no GPU on {socket.gethostname()}")
        # Ray shows an actor no other GPU than its own.
        self._device = "cuda:0" if on_gpu else "cpu"
        self._folder = TemporaryDirectory(prefix="floor33-", ignore_cleanup_errors=True)
        settings = replace(settings, output_dir=Path(self._folder.name))
        self._jobs: dict[str, JobHandle] = {}
        self._inbox = BatchQueue()
        self._worker = WorkerSupervisor(self._device, self._inbox, settings, backends=backends)
        self._worker.warm_up([card for card in warm_up if not _missing(card)])
        self._worker.start()

    def hello(self) -> WorkerInfo:
        """Who this is; the answer says that the actor is ready for jobs."""
        return WorkerInfo(
            socket.gethostname(), os.getpid(), self._device, device_kind(self._device)
        )

    def take(self, orders: Sequence[JobOrder]) -> None:
        """Begin with jobs of one batch key; what becomes of them is in the news."""
        jobs = [self._job(order) for order in orders]
        missing = _missing(jobs[0].settings.model)
        if missing is None:
            self._inbox.put(jobs)
            return
        for job in jobs:
            job.publish(failure_of(ModelLoadError(missing), job.id))

    def cancel(self, job_ids: Sequence[str]) -> None:
        """End jobs within a step; those that have ended are left alone."""
        with self._changed:
            jobs = [self._jobs[job_id] for job_id in job_ids if job_id in self._jobs]
        for job in jobs:
            job.cancel()

    def news(self, wait_s: float) -> WorkerUpdate:
        """What has happened since the last call; waits so many seconds at most for something."""
        with self._changed:
            self._changed.wait_for(lambda: self._told or self._lines, wait_s)
            told, self._told = tuple(self._told), []
            lines = tuple(self._lines)
            self._lines.clear()
        return WorkerUpdate(told, lines, self._worker.status(), self._inbox.limits)

    def end(self) -> None:
        """Throw away what is being made, and leave nothing on this machine's disk."""
        self._inbox.close()
        with self._changed:
            jobs = tuple(self._jobs.values())
        for job in jobs:
            job.cancel()
        self._worker.join()
        self._folder.cleanup()

    def _job(self, order: JobOrder) -> JobHandle:
        job = JobHandle(order.job_id, order.settings, self._inbox.discard)
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
            self._told.append(JobEvent(job.id, event, files))
            self._changed.notify_all()

    def _log(self, line: LogLine) -> None:
        with self._changed:
            self._lines.append(line)
            self._changed.notify_all()


def _fetch(event: Finished) -> ClipFiles:
    """The files of a finished job, which are taken off the disk. Raises OSError."""
    paths = event.result.path, event.result.sidecar
    clip, sidecar = (path.read_bytes() for path in paths)
    for path in paths:
        path.unlink()
    return ClipFiles(clip, sidecar)


def _missing(card: ModelCard) -> str | None:
    """What of a model this machine does not have, in words for the operator."""
    for path in (card.path, *(source.path for source in card.loras)):
        if not path.exists():
            return (
                f"{card.name}: {path} does not exist on {socket.gethostname()}; models have to "
                "lie at the same path on every machine of the cluster"
            )
    return None
