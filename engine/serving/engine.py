"""The engine: takes requests from any thread and makes one clip after another on every device."""

from __future__ import annotations

import asyncio
import atexit
import threading
from collections.abc import Iterable, Sequence
from types import TracebackType
from typing import Final, Self

from engine.checkpoints.catalog import Catalog, ModelCard
from engine.params import ClipParams
from engine.serving.backends import BackendRegistry, default_backends
from engine.serving.execution.output_files import free_space_problem
from engine.serving.job_handle import JobHandle
from engine.serving.ray.pool import RayWorkerPool
from engine.serving.request import (
    GenerationRequest,
    ResolvedSettings,
    check_job,
    measure_prompts,
    resolve,
    reword,
)
from engine.serving.scheduling.cost_model import Estimate, RequestShape
from engine.serving.scheduling.costs import DeviceCosts
from engine.serving.scheduling.queue_view import QueueView
from engine.serving.scheduling.scheduler import JobQueue
from engine.serving.status import WorkerStatus
from engine.serving.workers.pool import LocalWorkerPool, WorkerPool
from engine.settings import EngineSettings

_AT_EXIT_S: Final = 30.0
"""A program's end is not held up for longer than this."""


class Engine:
    """A queue of jobs and one worker per device, of this machine or of a cluster.

    The workers start with the first job. Use it as an asynchronous context manager, or call
    :meth:`close`.

    Args:
        settings: see `EngineSettings`.
        backends: the model families; None for those that come with the engine.

    Raises:
        EngineSettingsError: a device of the settings does not exist on this machine, or the
            cluster's software is not installed.
    """

    def __init__(self, settings: EngineSettings, backends: BackendRegistry | None = None) -> None:
        self._settings = settings
        self._backends = backends or default_backends()
        self._catalog = Catalog(
            settings.model_dirs,
            models_dir=settings.models_dir,
            variants=settings.model_variants,
            failed=self._failed_models,
            describe=self._backends.describe,
        )
        self._costs = DeviceCosts({})
        self._queue = JobQueue(settings.queue_capacity, self._costs)
        kind = RayWorkerPool if settings.backend == "ray" else LocalWorkerPool
        self._pool: WorkerPool = kind(settings, self._queue, self._costs, self._backends)
        self._started = self._closed = False
        self._start_lock = threading.Lock()

    @property
    def devices(self) -> tuple[str, ...]:
        """The devices that clips are made on: torch's names, of a cluster "ray:0", "ray:1", …"""
        return self._pool.devices

    def kind_of(self, device: str) -> str:
        """Return the kind of a device, such as a GPU's model; one kind is equally fast."""
        return self._pool.kind_of(device)

    def models(self) -> tuple[ModelCard, ...]:
        """Return every known model, ready or not, as the disk has them now.

        The first call reads all weight files once; later ones only look for changes.
        """
        return self._catalog.cards()

    def resolve(self, params: ClipParams) -> ResolvedSettings:
        """Return complete parameters, with the model's defaults and what it will not read.

        Raises:
            RequestError: names the field and what is allowed.
        """
        limit = self._settings.max_image_pixels
        return self._measured(
            resolve(params, self._catalog, max_image_pixels=limit, backends=self._backends)
        )

    def reword(self, settings: ResolvedSettings, prompt: str) -> ResolvedSettings:
        """Return resolved parameters with another prompt, such as an expanded one.

        Raises:
            RequestError: the prompt is empty or too long.
        """
        return self._measured(reword(settings, prompt))

    def submit(self, request: GenerationRequest) -> JobHandle:
        """Resolve a request and queue it; see `enqueue`.

        Raises:
            RequestError: the request is refused (a QueueFullError when too many jobs wait).
            EngineClosed: after close().
        """
        return self.enqueue(
            request.job_id,
            self.resolve(request),
            owner=request.owner,
            weight=request.weight,
            begun=request.begun,
        )

    def enqueue(
        self,
        job_id: str,
        settings: ResolvedSettings,
        *,
        owner: str = "",
        weight: float = 1.0,
        begun: bool = False,
    ) -> JobHandle:
        """Queue a job. May be called from any thread; does not wait for the clip.

        Args:
            job_id: 1 to 64 letters, digits, hyphens and underscores; of no other job in the queue.
            settings: what `resolve` returned.
            owner: on whose share of the devices it counts ("": on one that all such jobs share).
            weight: an owner of twice the weight, > 0, has twice the share.
            begun: a process that ended had begun it already, so it goes first.

        Raises:
            RequestError: id or weight are not allowed (a QueueFullError when too many jobs wait).
            EngineClosed: after close().
        """
        check_job(job_id, weight)
        job = JobHandle(
            job_id, settings, self._queue.discard, owner=owner, weight=weight, begun=begun
        )
        self._queue.put(job)
        self._start_workers()
        return job

    def estimate(self, settings: ResolvedSettings) -> Estimate:
        """Estimate the device seconds of a clip of such settings."""
        return self._costs.estimate(settings)

    def learn(self, runs: Iterable[tuple[RequestShape, float]]) -> None:
        """Teach the estimates clips of the past and their seconds, the oldest first.

        The engine learns from the clips it makes, and forgets all when it ends.
        """
        self._costs.learn(runs)

    def free_space_problem(self) -> str | None:
        """Return a sentence if no new job should be taken just now; None if it may.

        A job that is submitted all the same fails when its turn comes, unless there is space then.

        Raises:
            OSError: the disk does not answer.
        """
        return free_space_problem(self._settings.output_dir, self._settings.min_free_mb)

    def queue(self) -> QueueView:
        """Return the waiting jobs in order, with estimated waits, and the running ones."""
        return self._queue.view()

    def status(self) -> tuple[WorkerStatus, ...]:
        """Return the state of each worker, with counts of what it has done."""
        return self._pool.status()

    def warm_up(self, models: Sequence[str]) -> None:
        """Start the workers and let each load these models, before the first job or beside it.

        Those that are unknown or not ready are left out. Only the first call has an effect, and
        only before the first job.
        """
        cards = [card for card in self.models() if card.name in models and card.ready]
        with self._start_lock:
            if self._closed:
                return
            if not self._started:
                self._pool.warm_up(cards)
        self._start_workers()

    def pause(self) -> None:
        """Start no more jobs, for good; those that run go on. Comes before a close()."""
        self._queue.pause()

    hold = pause

    async def close(self) -> None:
        """Cancel what waits and runs, and wait until the workers have ended. Idempotent.

        A running job ends within one step; the event loop goes on meanwhile.
        """
        if self._end():
            await asyncio.to_thread(self._pool.join)
            atexit.unregister(self._at_exit)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.close()

    def _measured(self, settings: ResolvedSettings) -> ResolvedSettings:
        return measure_prompts(settings, self._backends.of(settings.model))

    def _failed_models(self) -> dict[tuple[str, str], str]:
        """Return the reasons why models could not be loaded, by name and revision."""
        if not self._started:
            return {}
        return {
            (name, revision): worker.broken_models[name]
            for worker in self._pool.status()
            for name, revision in worker.broken_revisions.items()
            if name in worker.broken_models
        }

    def _start_workers(self) -> None:
        with self._start_lock:
            # A thread that was still reading weight files may come here after the end.
            if self._started or self._closed:
                return
            self._started = True
            atexit.register(self._at_exit)
            self._pool.start()

    def _end(self) -> bool:
        """Take no more jobs and start no workers; tells whether there are workers."""
        self._queue.close()
        with self._start_lock:
            self._closed = True
            return self._started

    def _at_exit(self) -> None:
        """Wait for the workers at the end of a program that has not closed its engine.

        A thread that is inside torch when the interpreter goes down makes C++ abort the process.
        """
        if self._end():
            waiting = threading.Thread(target=self._pool.join, name="engine-end", daemon=True)
            waiting.start()
            waiting.join(_AT_EXIT_S)
