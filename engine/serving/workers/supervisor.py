"""Worker supervisor: runs a worker thread for one device, and replaces it when it hangs."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Final

from engine.checkpoints.catalog import ModelCard
from engine.serving.backends import BackendRegistry, default_backends
from engine.serving.execution.model_memory import device_memory
from engine.serving.execution.watchdog import Durations, Watchdog
from engine.serving.status import Tally, WorkerStatus
from engine.serving.workers.job_source import JobSource
from engine.serving.workers.worker_thread import WorkerThread
from engine.settings import EngineSettings

logger = logging.getLogger(__name__)

MOST_LOST: Final = 2
"""Threads of a device that may hang before no other is started."""

_CLOSING_PATIENCE_S: Final = 20.0
"""At the end nobody waits longer than this for a thread without a heartbeat."""

_PAUSE_AFTER_CRASH_S: Final = 1.0
_LOOK_EVERY_S: Final = 2.0


class WorkerSupervisor:
    """Takes jobs until the queue is closed.

    Whatever a job raises ends that job, never the worker. When a job hangs it fails, and another
    thread with models of its own goes on with the next: the hung one cannot be killed, and keeps
    its memory until it comes back. When too many hang at once, no further one is started until one
    of them has come back.

    Args:
        device: a torch device name; its models are loaded by this worker and stay with it.
        source: gives out the jobs; shared with the workers of other devices.
        settings: the engine's.
        clock: seconds that never run backwards, by which it is told that a thread hangs.
        backends: the model families.
    """

    def __init__(
        self,
        device: str,
        source: JobSource,
        settings: EngineSettings,
        clock: Callable[[], float] = time.monotonic,
        backends: BackendRegistry | None = None,
    ) -> None:
        self._device = device
        self._source = source
        self._settings = settings
        self._clock = clock
        self._backends = backends or default_backends()
        self._tally = Tally()
        self._durations = Durations()
        self._warm_up: tuple[ModelCard, ...] = ()
        self._lock = threading.Lock()
        self._thread: WorkerThread | None = None
        self._replaced = 0
        self._started = False
        self._closing = threading.Event()
        self._supervisor: threading.Thread | None = None
        self._interval_s = min(max(settings.hang_after_s / 4, 0.05), _LOOK_EVERY_S)

    def warm_up(self, models: Sequence[ModelCard]) -> None:
        """Load models before the first job is taken, as far as memory allows, in this order.

        One that cannot be loaded is logged, and met again by the first job that needs it. To be
        called before start().
        """
        if self._started:
            raise RuntimeError("warm_up: before start()")
        self._warm_up = tuple(models)

    def start(self) -> None:
        """Begin to take jobs."""
        self._supervisor = threading.Thread(
            target=self._supervise,
            args=(self._start_thread(self._warm_up),),
            name=f"engine-{self._device}-watchdog",
            daemon=True,
        )
        self._supervisor.start()

    def join(self) -> None:
        """Wait for the end; the queue must have been closed."""
        self._closing.set()
        if self._supervisor is not None:
            self._supervisor.join()

    def status(self) -> WorkerStatus:
        """Return the state of the worker. May be called from any thread."""
        with self._lock:
            thread, replaced, started = self._thread, self._replaced, self._started
        free, total = device_memory(self._device)
        known = WorkerStatus(
            device=self._device,
            state="stuck" if started else "starting",
            jobs_done=self._tally.done,
            failures=self._tally.failures,
            replaced=replaced,
            memory_free_bytes=free,
            memory_total_bytes=total,
        )
        if thread is None:
            return known
        return replace(
            known,
            state=thread.state,
            phase=thread.phase,
            jobs=tuple(job.id for job in thread.jobs),
            models=thread.models.loaded,
            broken_models=thread.models.broken,
            broken_revisions=thread.models.broken_revisions,
        )

    def _start_thread(self, warm_up: Sequence[ModelCard] = ()) -> WorkerThread:
        thread = WorkerThread(
            self._device,
            self._source,
            self._settings,
            self._tally,
            Watchdog(self._settings.hang_after_s, self._durations, self._clock),
            self._backends,
            warm_up,
        )
        with self._lock:
            self._started = True
            self._thread = thread
        thread.start()
        return thread

    def _supervise(self, thread: WorkerThread) -> None:
        """Replace the thread whenever it hangs or crashes, until the queue is closed."""
        lost: list[WorkerThread] = []
        while True:
            if thread.ended(self._interval_s):
                if not thread.crashed or self._closing.wait(_PAUSE_AFTER_CRASH_S):
                    return
            elif thread.abandon(_CLOSING_PATIENCE_S if self._closing.is_set() else None):
                lost.append(thread)
                with self._lock:
                    self._thread = None
                    self._replaced += 1
                if not self._may_go_on(lost):
                    return
            else:
                continue
            thread = self._start_thread()

    def _may_go_on(self, lost: list[WorkerThread]) -> bool:
        """Wait until another thread may be started; returns False at the end."""
        told = False
        while True:
            lost[:] = [thread for thread in lost if thread.alive]
            if len(lost) < MOST_LOST or self._closing.is_set():
                return not self._closing.is_set()
            if not told:
                told = True
                logger.critical(
                    "%d threads of %s hang; it takes no more jobs until one of them comes back",
                    len(lost),
                    self._device,
                )
            self._closing.wait(self._interval_s)
