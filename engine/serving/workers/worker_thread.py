"""Worker thread: makes the clips of one device."""

from __future__ import annotations

import logging
import sys
import threading
import traceback
from collections.abc import Sequence
from typing import Literal

import torch

from common.out_of_memory import is_out_of_memory
from engine.checkpoints.catalog import ModelCard
from engine.checkpoints.errors import ModelLoadError
from engine.serving.backends import BackendRegistry
from engine.serving.cancellation import WorkerAbandoned
from engine.serving.events import Event, Started, Terminal
from engine.serving.execution.batch import JobBatch
from engine.serving.execution.batch_runner import BatchRunner
from engine.serving.execution.failures import failure_of, hung
from engine.serving.execution.memory_planner import MemoryPlanner
from engine.serving.execution.pipeline_cache import PipelineCache
from engine.serving.execution.watchdog import HangTimeout, Watchdog
from engine.serving.job_handle import JobHandle
from engine.serving.status import Tally
from engine.serving.workers.job_source import JobSource, finish_job
from engine.settings import EngineSettings

logger = logging.getLogger(__name__)

ThreadState = Literal["starting", "warming", "idle", "rendering", "stopped"]


class WorkerThread:
    """Takes batches of jobs until the queue is closed, or until it is abandoned.

    Whatever a job raises ends that job, never the thread. A thread cannot be killed: one that has
    been abandoned finds out at its next sign of life, throws away what it was making, and ends.

    Args:
        device: a torch device name; its models are loaded by this thread and stay with it.
        source: gives out the jobs.
        settings: the engine's.
        tally: counts how jobs end.
        watchdog: is told of every phase of the thread.
        backends: the model families.
        warm_up: models that are loaded before the first job is taken.
    """

    def __init__(
        self,
        device: str,
        source: JobSource,
        settings: EngineSettings,
        tally: Tally,
        watchdog: Watchdog,
        backends: BackendRegistry,
        warm_up: Sequence[ModelCard] = (),
    ) -> None:
        self._device = device
        self._source = source
        self._settings = settings
        self._tally = tally
        self._warm_up = tuple(warm_up)
        self._watchdog = watchdog
        self.models = PipelineCache(
            device, settings.options_of, settings.model_memory_gb, backends=backends
        )
        self._planner = MemoryPlanner(
            device, settings.max_batch or "auto", self.models.missing_bytes, backends=backends
        )
        self._runner = BatchRunner(self.models, settings, self._planner, watchdog)
        self._batch = JobBatch((), watchdog)
        self._state: ThreadState = "starting"
        self._crashed = False
        # A daemon, so that a program which forgot close() can still end.
        self._thread = threading.Thread(target=self._run, name=f"engine-{device}", daemon=True)

    def start(self) -> None:
        """Begin to take jobs."""
        self._thread.start()

    def ended(self, timeout_s: float) -> bool:
        """Wait for the thread for so long; returns True if it has ended."""
        self._thread.join(timeout_s)
        return not self._thread.is_alive()

    @property
    def alive(self) -> bool:
        """True while the thread runs."""
        return self._thread.is_alive()

    @property
    def crashed(self) -> bool:
        """True when the thread has ended by a fault of its own."""
        return self._crashed

    @property
    def state(self) -> ThreadState:
        """The state of the thread."""
        return self._state

    @property
    def phase(self) -> str | None:
        """The phase that it is in; None when it waits."""
        return self._watchdog.phase

    @property
    def jobs(self) -> tuple[JobHandle, ...]:
        """The jobs that it has taken and that have not ended."""
        return self._batch.remaining

    def abandon(self, patience_s: float | None = None) -> HangTimeout | None:
        """End the thread's jobs if it has given no heartbeat for too long; for another thread.

        Args:
            patience_s: see `Watchdog.abandon`.

        Returns:
            The phase that took too long; None when the thread may go on.
        """
        timeout = self._watchdog.abandon(patience_s)
        if timeout is None:
            return None
        jobs = self.jobs
        self._batch = JobBatch((), self._watchdog)
        logger.critical(
            "%s has hung: %s for %.0f s (limit %.0f s); given up: %s. It stands at:\n%s",
            self._device,
            timeout.phase,
            timeout.seconds,
            timeout.limit_s,
            ", ".join(job.id for job in jobs) or "no job",
            self._stack(),
        )
        for job in jobs:
            finish_job(job, hung(timeout.phase, timeout.seconds), self._source, self._tally)
        return timeout

    def _run(self) -> None:
        try:
            if self._settings.threads is not None:
                torch.set_num_threads(self._settings.threads)
            self._load_first_models()
            while jobs := self._next_jobs():
                self._work(jobs)
        except WorkerAbandoned:
            logger.warning(
                "a thread of %s that was abandoned has come back, and ends", self._device
            )
        except Exception:
            self._crashed = True
            logger.critical("the thread of %s has crashed", self._device, exc_info=True)
            self._fail_the_rest(RuntimeError("the worker's thread has crashed"))
        finally:
            self._state = "stopped"
            self.models.clear()

    def _next_jobs(self) -> tuple[JobHandle, ...]:
        self._state = "idle"
        return self._source.next_batch(lambda job: self._planner.max_batch(job.settings))

    def _work(self, jobs: Sequence[JobHandle]) -> None:
        self._state = "rendering"
        self._batch = JobBatch(jobs, self._watchdog)
        self._watchdog.enter_phase("beginning")
        for job in jobs:
            self._report(job, Started(self._device))
        try:
            self._runner.run(self._batch, self._report)
        except Exception as error:  # noqa: BLE001 - a fault of ours must not end the worker
            self._fail_the_rest(error)
        self._watchdog.idle()

    def _report(self, job: JobHandle, event: Event) -> None:
        """Publish an event; the job has left the batch when it is a terminal one."""
        if isinstance(event, Terminal):
            finish_job(job, event, self._source, self._tally)
        else:
            job.publish(event)

    def _fail_the_rest(self, error: Exception) -> None:
        for job in self.jobs:
            with self._batch.ending(job):
                pass
            self._report(job, failure_of(error, job.id))

    def _load_first_models(self) -> None:
        self._state = "warming"
        for card in self._warm_up:
            if self._source.closed:
                break
            try:
                if self.models.has_room_for(card):
                    self.models.get(
                        card, lambda name: self._watchdog.enter_phase(f"loading {name}")
                    )
                else:
                    logger.info("no room on %s to load %s already", self._device, card.name)
            except ModelLoadError as error:
                logger.error("%s cannot be loaded: %s", card.name, error)
            except (RuntimeError, MemoryError) as error:
                if not is_out_of_memory(error):
                    raise
                logger.error("no memory on %s to load %s: %s", self._device, card.name, error)
        self._watchdog.idle()

    def _stack(self) -> str:
        """Return the stack of the thread just now."""
        frame = sys._current_frames().get(self._thread.ident or 0)
        return "".join(traceback.format_stack(frame)) if frame else "(it has ended)"
