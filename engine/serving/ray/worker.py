"""The engine's side of one actor: from the queue to the actor, and from its news to the jobs."""

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
from engine.serving.ray.actor_client import ActorClient
from engine.serving.ray.backoff import Backoff
from engine.serving.ray.cluster import ClusterError
from engine.serving.ray.crash_counter import GIVEN_UP, MOST_LOST, CrashCounter
from engine.serving.ray.logs import repeat
from engine.serving.ray.protocol import ClipFiles, JobEvent, JobOrder, WorkerInfo, WorkerUpdate
from engine.serving.ray.receive_clip import store_remote_clip
from engine.serving.scheduling.scheduler import JobQueue, batch_key
from engine.serving.settings import EngineSettings
from engine.serving.status import Tally, WorkerState, WorkerStatus
from engine.serving.workers.job_source import finish_job

logger = logging.getLogger(__name__)

_CLOSING_PATIENCE_S: Final = 60.0


class RayWorker:
    """Takes jobs until the queue is closed, and has an actor make the clips.

    One thread, the keeper, starts the actor, listens to it, and replaces it when it is lost: its
    jobs then go back to where they were in the queue. Another takes jobs and sends them.

    Args:
        name: what the device is called in events and in the status.
        queue: where the jobs come from; shared with other workers.
        settings: the engine's.
        connect: asks the cluster for an actor that loads these models first.
        losses: counts for all workers.
        on_hello: told what each new actor is.
    """

    def __init__(
        self,
        name: str,
        queue: JobQueue,
        settings: EngineSettings,
        connect: Callable[[Sequence[ModelCard]], ActorClient],
        losses: CrashCounter,
        on_hello: Callable[[str, WorkerInfo], None],
    ) -> None:
        self._name = name
        self._queue = queue
        self._settings = settings
        self._connect = connect
        self._losses = losses
        self._on_hello = on_hello
        self._warm_up: tuple[ModelCard, ...] = ()
        self._tally = Tally()
        self._where = name
        self._limits: dict[Hashable, int] = {}
        # All that follows is changed with this held; nothing is published or waited for meanwhile.
        self._changed = threading.Condition()
        self._link: ActorClient | None = None
        self._jobs: dict[str, JobHandle] = {}
        self._cancels: set[str] = set()
        self._hung = False
        self._lost = 0
        self._known: WorkerStatus | None = None
        self._stopped = False
        self._closing = threading.Event()
        self._closing_since = 0.0
        self._threads = tuple(
            threading.Thread(target=run, name=f"engine-{name}{suffix}", daemon=True)
            for run, suffix in ((self._keep, "-keeper"), (self._send, ""))
        )

    def warm_up(self, models: Sequence[ModelCard]) -> None:
        """Let every actor load these before its first job. Before start()."""
        self._warm_up = tuple(models)

    def start(self) -> None:
        """Begin to take jobs, as soon as there is an actor."""
        for thread in self._threads:
            thread.start()

    def join(self) -> None:
        """Wait for the end; the queue must have been closed."""
        with self._changed:
            self._closing_since = time.monotonic()
            self._closing.set()
            self._changed.notify_all()
        for thread in self._threads:
            thread.join()

    def status(self) -> WorkerStatus:
        """What it is doing. May be called from any thread."""
        with self._changed:
            known = self._known
            if self._link is None or known is None:
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

    # ---------------------------------------------------------------- the keeper's thread

    def _keep(self) -> None:
        backoff = Backoff()
        while not self._closing.is_set():
            link: ActorClient | None = None
            was_up = False
            try:
                link = self._connect(self._warm_up)
                if was_up := self._welcome(link):
                    backoff.begin()
                    self._listen(link)
                self._end_actor(link, was_up=was_up)
            except Exception as error:  # noqa: BLE001 - a fault of ours must not end the worker
                self._give_up(link, error, was_up=was_up)
                self._closing.wait(backoff.pause_s())
        with self._changed:
            self._stopped = True

    def _welcome(self, link: ActorClient) -> bool:
        """Wait until the actor runs; False when the engine closes before."""
        hello = link.wait_until_up(self._name, self._closing.is_set)
        if hello is None:
            return False
        self._where = f"{self._name} on {hello.host}"
        logger.info("%s is %s (%s), process %d", self._where, hello.device, hello.kind, hello.pid)
        self._on_hello(self._name, hello)
        with self._changed:
            self._link, self._hung = link, False
            self._changed.notify_all()
        return True

    def _listen(self, link: ActorClient) -> None:
        """Hear the actor until the engine closes and no job is left. Raises ClusterError."""
        while not self._at_end():
            if (news := link.news(self._at_end)) is not None:
                self._hear(news)
            if self._hung and not self._jobs:
                raise ClusterError("it has hung; a new one has its memory back")

    def _at_end(self) -> bool:
        if not self._closing.is_set():
            return False
        with self._changed:
            return not self._jobs or time.monotonic() > self._closing_since + _CLOSING_PATIENCE_S

    def _hear(self, news: WorkerUpdate) -> None:
        repeat(news.lines, self._where)
        self._limits.update(news.limits)
        with self._changed:
            self._known = news.status
        for told in news.told:
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

    def _end_actor(self, link: ActorClient, *, was_up: bool) -> None:
        """The engine closes."""
        with self._changed:
            self._link = None
            left = tuple(self._jobs.values())
        if was_up and not left:
            link.end()
        else:
            link.kill()  # it never was there, or has had its time
        for job in left:
            self._end(job, Cancelled())

    def _give_up(self, link: ActorClient | None, error: Exception, *, was_up: bool) -> None:
        """Put the jobs of a lost actor back, or end those that have lost too many."""
        if link is not None:
            link.kill()
        with self._changed:
            self._link = None
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
            if self._losses.count(job) < MOST_LOST:
                again.append(job)
            else:
                self._end(job, GIVEN_UP)
        self._queue.requeue(again)
        with self._changed:
            self._jobs.clear()
            self._changed.notify_all()

    # ----------------------------------------------------------------- the sender's thread

    def _send(self) -> None:
        while self._wait_for_actor():
            jobs = self._queue.next_batch(lambda job: self._limits.get(batch_key(job.settings), 1))
            if not jobs:
                return
            link = self._adopt(jobs)
            if link is None:
                self._queue.requeue(jobs)
            else:
                self._hand_over(link, jobs)
                self._pass_cancels_on(link)

    def _wait_for_actor(self) -> bool:
        """Wait for an actor without jobs; False when the engine closes."""
        with self._changed:
            self._changed.wait_for(
                lambda: self._closing.is_set() or (self._link is not None and not self._jobs)
            )
            return not self._closing.is_set()

    def _adopt(self, jobs: Sequence[JobHandle]) -> ActorClient | None:
        """Answer for jobs from now on; None when the actor was lost while waiting for them."""
        with self._changed:
            if self._link is not None:
                self._jobs = {job.id: job for job in jobs}
                self._cancels.clear()
            return self._link

    def _hand_over(self, link: ActorClient, jobs: Sequence[JobHandle]) -> None:
        try:
            check_free_space(
                self._settings.output_dir,
                self._settings.min_free_mb,
                private=self._settings.private_files,
            )
            link.take([JobOrder(job.id, job.settings) for job in jobs])
        except ClusterError as error:
            link.mark_dead(str(error))  # the keeper puts the jobs back
        except Exception as error:  # noqa: BLE001 - the jobs' boundary: logged, told to their owners
            for job in jobs:
                self._end(job, failure_of(error, job.id))
        # Not before: an actor does not know whom to cancel before it has them.
        for job in jobs:
            job.when_cancelled(partial(self._ask_to_cancel, job.id))

    def _pass_cancels_on(self, link: ActorClient) -> None:
        """Until no job is left."""
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._cancels or not self._jobs)
                if not self._jobs:
                    return
                job_ids = tuple(self._cancels)
                self._cancels.clear()
            try:
                link.cancel(job_ids)
            except ClusterError as error:
                link.mark_dead(str(error))

    # -------------------------------------------------------------------------- any thread

    def _ask_to_cancel(self, job_id: str) -> None:
        with self._changed:
            if job_id in self._jobs:
                self._cancels.add(job_id)
                self._changed.notify_all()

    def _end(self, job: JobHandle, outcome: Terminal) -> None:
        outcome = finish_job(job, outcome, self._queue, self._tally)
        with self._changed:
            self._hung |= isinstance(outcome, Failed) and outcome.reason is FailureReason.HUNG
            self._jobs.pop(job.id, None)
            if self._hung and not self._jobs:
                self._link = None  # no more for this one
            self._changed.notify_all()
