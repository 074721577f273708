"""The thread of a worker that makes the clips."""

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
from engine.serving.cancellation import Abandoned
from engine.serving.events import Started, Terminal
from engine.serving.execution.batch import Commit
from engine.serving.execution.batch_runner import Renderer
from engine.serving.execution.failures import failure_of, hung
from engine.serving.execution.memory_planner import Capacity
from engine.serving.execution.pipeline_cache import PipelineCache
from engine.serving.execution.watchdog import Overdue, Watch
from engine.serving.job_handle import Job
from engine.serving.status import Tally
from engine.serving.workers.job_source import Source, tell_end
from engine.settings import EngineSettings

logger = logging.getLogger(__name__)

HandState = Literal["starting", "warming", "idle", "rendering", "stopped"]


class Hand:
    """Takes batches of jobs until the queue is closed, or until it is given up.

    Whatever a job raises ends that job, never the thread. A thread cannot be killed: one that has
    been given up finds out at its next sign of life, throws away what it was making, and ends.

    Args:
        device: a torch device name; its models are loaded by this thread and stay with it.
        queue: where the jobs come from.
        settings: the engine's.
        tally: counts how jobs end.
        watch: sees what the thread does.
        warm_up: models that are loaded before the first job is taken.
    """

    def __init__(
        self,
        device: str,
        queue: Source,
        settings: EngineSettings,
        tally: Tally,
        watch: Watch,
        warm_up: Sequence[ModelCard] = (),
    ) -> None:
        self._device = device
        self._queue = queue
        self._settings = settings
        self._tally = tally
        self._warm_up = tuple(warm_up)
        self._watch = watch
        self.models = PipelineCache(device, settings.options_of, settings.model_memory_gb)
        self._capacity = Capacity(device, settings.max_batch or "auto", self.models.missing_bytes)
        self._renderer = Renderer(self.models, settings, self._capacity, self._watch, self._settle)
        # Changed by the thread while nobody may give it up, and by whoever has given it up.
        self._jobs: dict[Job, None] = {}
        self._state: HandState = "starting"
        self._crashed = False
        # A daemon, so that a program which forgot close() can still end.
        self._thread = threading.Thread(target=self._run, name=f"engine-{device}", daemon=True)

    def start(self) -> None:
        """Begin to take jobs."""
        self._thread.start()

    def ended(self, timeout_s: float) -> bool:
        """Wait for the thread for so long; tells whether it has ended."""
        self._thread.join(timeout_s)
        return not self._thread.is_alive()

    @property
    def alive(self) -> bool:
        """Whether the thread runs."""
        return self._thread.is_alive()

    @property
    def crashed(self) -> bool:
        """Whether the thread has ended by a fault of its own."""
        return self._crashed

    @property
    def state(self) -> HandState:
        """What the thread is at."""
        return self._state

    @property
    def phase(self) -> str | None:
        """What exactly it is doing; None when it waits."""
        return self._watch.phase

    @property
    def jobs(self) -> tuple[Job, ...]:
        """The jobs that it has taken and that have not ended."""
        return tuple(self._jobs)

    def give_up(self, patience_s: float | None = None) -> Overdue | None:
        """End the thread's jobs if it has given no sign of life for too long; for another thread.

        Args:
            patience_s: see `Watch.give_up`.

        Returns:
            What took too long; None when the thread may go on.
        """
        overdue = self._watch.give_up(patience_s)
        if overdue is None:
            return None
        jobs = self.jobs
        self._jobs.clear()
        logger.critical(
            "%s has hung: %s for %.0f s (limit %.0f s); given up: %s. It stands at:\n%s",
            self._device,
            overdue.phase,
            overdue.seconds,
            overdue.limit_s,
            ", ".join(job.id for job in jobs) or "no job",
            self._stack(),
        )
        for job in jobs:
            tell_end(job, hung(overdue.phase, overdue.seconds), self._queue, self._tally)
        return overdue

    def _run(self) -> None:
        try:
            if self._settings.threads is not None:
                torch.set_num_threads(self._settings.threads)
            self._load_first_models()
            while jobs := self._next_jobs():
                self._work(jobs)
        except Abandoned:
            logger.warning("a thread of %s that was given up has come back, and ends", self._device)
        except Exception:
            self._crashed = True
            logger.critical("the thread of %s has crashed", self._device, exc_info=True)
            self._fail_the_rest(RuntimeError("the worker's thread has crashed"))
        finally:
            self._state = "stopped"
            self.models.clear()

    def _next_jobs(self) -> tuple[Job, ...]:
        self._state = "idle"
        return self._queue.take_batch(lambda job: self._capacity.max_batch(job.settings))

    def _work(self, jobs: Sequence[Job]) -> None:
        self._state = "rendering"
        self._jobs.update(dict.fromkeys(jobs))
        self._watch.begin("beginning")
        for job in jobs:
            job.publish(Started(self._device))
        try:
            self._renderer.render(jobs)
        except Exception as error:  # noqa: BLE001 - a fault of ours must not end the worker
            self._fail_the_rest(error)
        self._watch.rest()

    def _settle(self, job: Job, outcome: Terminal, commit: Commit | None = None) -> None:
        """End a job, unless this thread has been given up; see `party.Settle`."""
        with self._watch.deciding():
            if commit is not None:
                commit()
            del self._jobs[job]
        tell_end(job, outcome, self._queue, self._tally)

    def _fail_the_rest(self, error: Exception) -> None:
        for job in self.jobs:
            self._settle(job, failure_of(error, job.id))

    def _load_first_models(self) -> None:
        self._state = "warming"
        for card in self._warm_up:
            if self._queue.closed:
                break
            try:
                if self.models.has_room_for(card):
                    self.models.get(card, lambda name: self._watch.begin(f"loading {name}"))
                else:
                    logger.info("no room on %s to load %s already", self._device, card.name)
            except ModelLoadError as error:
                logger.error("%s cannot be loaded: %s", card.name, error)
            except (RuntimeError, MemoryError) as error:
                if not is_out_of_memory(error):
                    raise
                logger.error("no memory on %s to load %s: %s", self._device, card.name, error)
        self._watch.rest()

    def _stack(self) -> str:
        """Where the thread stands just now."""
        frame = sys._current_frames().get(self._thread.ident or 0)
        return "".join(traceback.format_stack(frame)) if frame else "(it has ended)"
