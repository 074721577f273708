"""Ray worker: takes batches from the queue and has an actor render them."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Hashable, Sequence
from dataclasses import replace
from functools import partial
from typing import Final

from engine.checkpoints.catalog import ModelCard
from engine.serving.events import (
    Cancelled,
    Failed,
    FailureReason,
    Finished,
    Progress,
    Started,
    Terminal,
)
from engine.serving.execution.failures import failure_of
from engine.serving.execution.output_files import check_free_space
from engine.serving.job_handle import JobHandle
from engine.serving.ray.actor_client import UPDATE_EVERY_S, ActorClient
from engine.serving.ray.backoff import ActorBackoff
from engine.serving.ray.cluster import ClusterError
from engine.serving.ray.crash_counter import GIVEN_UP, MOST_LOST, CrashCounter
from engine.serving.ray.logs import repeat
from engine.serving.ray.protocol import ClipFiles, JobEvent, JobOrder, WorkerInfo, WorkerUpdate
from engine.serving.ray.receive_clip import store_remote_clip
from engine.serving.scheduling.scheduler import JobQueue, batch_key
from engine.serving.status import Tally, WorkerState, WorkerStatus
from engine.serving.workers.job_source import finish_job
from engine.settings import EngineSettings

logger = logging.getLogger(__name__)

_CLOSING_PATIENCE_S: Final = 60.0


class RayWorker:
    """Takes jobs until the queue is closed, and has an actor make the clips.

    One thread starts the actor, sends it one batch after the other, and replaces it when it is
    lost: its jobs then go back to where they were in the queue.

    Args:
        name: the device's name in events and in the status.
        queue: gives out the jobs; shared with other workers.
        settings: the engine's.
        connect: asks the cluster for an actor that loads these models first.
        crashes: counts for all workers.
        on_info: told what each new actor is.
    """

    def __init__(
        self,
        name: str,
        queue: JobQueue,
        settings: EngineSettings,
        connect: Callable[[Sequence[ModelCard]], ActorClient],
        crashes: CrashCounter,
        on_info: Callable[[str, WorkerInfo], None],
    ) -> None:
        self._name = name
        self._queue = queue
        self._settings = settings
        self._connect = connect
        self._crashes = crashes
        self._on_info = on_info
        self._warm_up: tuple[ModelCard, ...] = ()
        self._tally = Tally()
        self._where = name
        self._limits: dict[Hashable, int] = {}
        self._jobs: dict[str, JobHandle] = {}
        self._hung = False
        self._lost = 0
        self._up = False
        self._known: WorkerStatus | None = None
        self._stopped = False
        self._closing = threading.Event()
        self._closing_since = 0.0
        self._thread = threading.Thread(target=self._run, name=f"engine-{name}", daemon=True)

    def warm_up(self, models: Sequence[ModelCard]) -> None:
        """Let every actor load these before its first job. Before start()."""
        self._warm_up = tuple(models)

    def start(self) -> None:
        """Begin to take jobs, as soon as there is an actor."""
        self._thread.start()

    def join(self) -> None:
        """Wait for the end; the queue must have been closed."""
        self._closing_since = time.monotonic()
        self._closing.set()
        self._thread.join()

    def status(self) -> WorkerStatus:
        """Return the state of the worker. May be called from any thread."""
        known = self._known
        if not self._up or known is None:
            state: WorkerState = "stopped" if self._stopped else "starting"
            known = WorkerStatus(device=self._name, state=state)
        return replace(
            known,
            device=self._name,
            jobs=tuple(self._jobs),
            jobs_done=self._tally.done,
            failures=self._tally.failures,
            replaced=self._lost,
        )

    def _run(self) -> None:
        backoff = ActorBackoff()
        while not self._at_end():
            client: ActorClient | None = None
            try:
                client = self._connect(self._warm_up)
                if self._welcome(client):
                    backoff.begin()
                    self._serve(client)
                self._end_actor(client)
            except Exception as error:  # noqa: BLE001 - a fault of ours must not end the worker
                self._replace_lost(client, error)
                self._closing.wait(backoff.pause_s())
        self._stopped = True

    def _at_end(self) -> bool:
        return self._closing.is_set() or self._queue.closed

    def _out_of_patience(self) -> bool:
        if not self._closing.is_set():
            return False
        return time.monotonic() > self._closing_since + _CLOSING_PATIENCE_S

    def _welcome(self, client: ActorClient) -> bool:
        """Wait until the actor runs; False when the engine closes before."""
        info = client.wait_until_up(self._name, self._at_end)
        if info is None:
            return False
        self._where = f"{self._name} on {info.host}"
        logger.info("%s is %s (%s), process %d", self._where, info.device, info.kind, info.pid)
        self._on_info(self._name, info)
        self._up, self._hung = True, False
        return True

    def _serve(self, client: ActorClient) -> None:
        """Send batches until the engine closes. Raises ClusterError when the actor is lost."""
        while not self._at_end():
            jobs = self._queue.next_batch(self._limit, timeout_s=UPDATE_EVERY_S)
            if jobs:
                self._render(client, jobs)
            elif (update := client.update(0, self._at_end)) is not None:
                self._hear(update)
            if self._hung:
                raise ClusterError("it has hung; a new one has its memory back")

    def _limit(self, job: JobHandle) -> int:
        return self._limits.get(batch_key(job.settings), 1)

    def _render(self, client: ActorClient, jobs: Sequence[JobHandle]) -> None:
        """Let the actor render a batch, and publish what happens. Raises ClusterError."""
        self._jobs = {job.id: job for job in jobs}
        try:
            check_free_space(
                self._settings.output_dir,
                self._settings.min_free_mb,
                private=self._settings.private_files,
            )
            orders = [JobOrder(job.id, job.settings) for job in jobs]
            updates = client.run(orders, self._out_of_patience)
        except ClusterError:
            raise
        except Exception as error:  # noqa: BLE001 - the jobs' boundary: logged, told to their owners
            for job in jobs:
                self._end(job, failure_of(error, job.id))
            return
        # Not before: an actor does not know whom to cancel before it has them.
        for job in jobs:
            job.when_cancelled(partial(_cancel, client, job.id))
        for update in updates:
            self._hear(update)
            if not self._jobs:
                return

    def _hear(self, update: WorkerUpdate) -> None:
        repeat(update.lines, self._where)
        self._limits.update(update.limits)
        self._known = update.status
        for told in update.events:
            job = self._jobs.get(told.job_id)
            if job is not None:
                self._pass_on(job, told)

    def _pass_on(self, job: JobHandle, told: JobEvent) -> None:
        match told:
            case JobEvent(_, Finished(result), ClipFiles() as files):
                self._end(job, store_remote_clip(job, result, files, self._settings))
            case JobEvent(_, Failed() as outcome):
                self._end(job, outcome)
            case JobEvent(_, Cancelled()) if job.cancel_requested:
                self._end(job, Cancelled())
            case JobEvent(_, Started()):
                job.publish(Started(self._name))
            case JobEvent(_, Progress() as progress):
                job.publish(progress)
            case _:
                raise ClusterError(f"job {job.id}: an unexpected {type(told.event).__name__}")

    def _end(self, job: JobHandle, outcome: Terminal) -> None:
        outcome = finish_job(job, outcome, self._queue, self._tally)
        self._hung |= isinstance(outcome, Failed) and outcome.reason is FailureReason.HUNG
        self._jobs.pop(job.id, None)

    def _end_actor(self, client: ActorClient) -> None:
        """End the actor, for the engine closes."""
        was_up, self._up = self._up, False
        left = tuple(self._jobs.values())
        if was_up and not left:
            client.end()
        else:
            client.kill()  # it never was there, or has had its time
        for job in left:
            self._end(job, Cancelled())

    def _replace_lost(self, client: ActorClient | None, error: Exception) -> None:
        """Put the jobs of a lost actor back, or end those that have lost too many."""
        if client is not None:
            client.kill()
        was_up, self._up = self._up, False
        self._lost += was_up
        jobs = tuple(self._jobs.values())
        logger.error(
            "%s %s: %s; put back: %s",
            self._where,
            "is lost" if was_up else "could not be started",
            error,
            ", ".join(job.id for job in jobs) or "no job",
            exc_info=not isinstance(error, ClusterError),
        )
        again: list[JobHandle] = []
        for job in jobs:
            if self._crashes.count(job) < MOST_LOST:
                again.append(job)
            else:
                self._end(job, GIVEN_UP)
        self._jobs = {}
        self._queue.requeue(again)


def _cancel(client: ActorClient, job_id: str) -> None:
    """Tell an actor to cancel a job; called by the thread that cancels."""
    try:
        client.cancel((job_id,))
    except ClusterError as error:
        client.mark_dead(str(error))
