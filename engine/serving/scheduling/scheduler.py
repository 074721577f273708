"""Scheduler: the queue of waiting and running jobs."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Hashable, Iterator, Sequence
from itertools import islice
from typing import Final

from engine.serving.errors import EngineClosed, QueueFullError, RequestError
from engine.serving.events import Cancelled, Queued
from engine.serving.job_handle import JobHandle
from engine.serving.request import ResolvedSettings
from engine.serving.scheduling.cost_model import Estimate
from engine.serving.scheduling.costs import DeviceCosts
from engine.serving.scheduling.fair_queue import FairQueue
from engine.serving.scheduling.queue_view import (
    QueueView,
    RunningBatch,
    RunningJob,
    WaitingJob,
    estimated_waits,
    total,
)

POSITIONS_INTERVAL_S: Final = 2.0
"""Waiting jobs are told their places at most once in so many seconds."""

_BEGUN_S: Final = 1e-6
"""Cost of a waiting job that was begun before: so little that it goes first."""

_LOOK_AHEAD: Final = 256
"""Jobs that are looked at for a batch, or added up one by one for a new job's waiting time."""

_NEWS: Final = 0.1
"""A waiting job costs something else when its new estimate differs by more than this part."""


def batch_key(settings: ResolvedSettings) -> Hashable:
    """Jobs of equal keys can be run in one batch; they may differ in frames per second."""
    return (
        settings.model.name,
        settings.model.revision,
        settings.params.width,
        settings.params.height,
        settings.params.num_frames,
        settings.params.steps,
        settings.params.guidance,
        settings.params.image is not None,
    )


class JobQueue:
    """A bounded queue that knows turns, places, waiting times, running jobs and its own end.

    Turns are those of weighted fair queueing: the owners of the requests share the devices in
    proportion to their weights, whoever has asked for more. A job is told its place when it is put
    in; all of them are, when places have changed, by a timer thread that exists for that long only.

    Lock order: the queue's lock may be held while a *new* job's is taken (nobody else has it yet),
    or that of the costs, never otherwise; so events are published after it has been released.

    Args:
        capacity: jobs that may wait.
        costs: knows the devices and how long jobs take on them.
        positions_interval_s: places are told at most once in so many seconds.
    """

    def __init__(
        self,
        capacity: int,
        costs: DeviceCosts | None = None,
        *,
        positions_interval_s: float | None = None,
    ) -> None:
        self._capacity = capacity
        self._costs = costs or DeviceCosts({"cpu": "cpu"})
        self._interval_s = (
            POSITIONS_INTERVAL_S if positions_interval_s is None else positions_interval_s
        )
        self._changed = threading.Condition()
        self._waiting: FairQueue[JobHandle] = FairQueue()
        self._running: dict[JobHandle, RunningBatch] = {}
        self._estimates: dict[JobHandle, Estimate] = {}
        self._ids: set[str] = set()
        self._version = 0
        self._timer: threading.Timer | None = None
        self._told_at = float("-inf")
        self._learned = False
        self._paused = False
        self._closed = False

    def put(self, job: JobHandle) -> None:
        """Append a job to those of its owner; its first event is its place in the queue.

        Raises:
            EngineClosed: after close().
            QueueFullError: as many jobs wait as may.
            RequestError: a job of that id is waiting or running.
        """
        estimate = self._costs.estimate(job.settings)
        with self._changed:
            if self._closed:
                raise EngineClosed("The engine has been closed.")
            if len(self._waiting) >= self._capacity:
                raise QueueFullError(self._capacity)
            if job.id in self._ids:
                raise RequestError("job_id", f"A job {job.id} is already waiting or running.")
            cost_s = _cost(job, estimate)
            self._waiting.push(job, job.owner, cost_s, job.weight)
            self._estimates[job] = estimate
            self._ids.add(job.id)
            self._version += 1
            place = self._position_of(job)
            job.publish_position(place, self._version)
            if place.position < len(self._waiting):
                self._positions_changed()
            self._changed.notify()

    def take(self) -> JobHandle | None:
        """Wait for the next job, which counts as running from now on; None after close()."""
        return next(iter(self.next_batch(lambda _: 1)), None)

    def next_batch(
        self, limit: Callable[[JobHandle], int], *, timeout_s: float | None = None
    ) -> tuple[JobHandle, ...]:
        """Wait for the next job, and take others with it that can be run together with it.

        Each of them counts as running, and on its owner's share, from now on; and `done` is to be
        called for each. The others are found among the next 256 in the order of their turns.

        Args:
            limit: how many jobs like this one can be run at once, this one included; less than 1
                counts as 1. It is called with the queue locked: it must be quick, and not call it.
            timeout_s: wait so long at most; None: until there is a job.

        Returns:
            Jobs of one `batch_key`, the one whose turn it is first; none after close(), or when the
            time is over.
        """
        with self._changed:
            self._changed.wait_for(lambda: self._has_turn() or self._closed, timeout_s)
            if not self._has_turn():
                return ()
            first = self._waiting.peek()
            room = limit(first) - 1
            self._waiting.pop()
            batch = (first, *(self._like(first, room) if room > 0 else ()))
            for job in batch[1:]:
                self._waiting.take(job)
            estimate = total(self._estimates[job] for job in batch)
            run = RunningBatch(time.perf_counter(), len(batch), estimate)
            self._running.update((job, run) for job in batch)
            self._positions_changed()
        return batch

    def done(self, job: JobHandle, elapsed_s: float | None = None) -> None:
        """Note that a job which was taken has ended, and charge its owner for what it took.

        Args:
            job: one that runs.
            elapsed_s: device seconds of a job that has run to its end, without loading the model;
                of a batch, this job's part. The estimates learn from it. None: the job failed or
                was cancelled. Then its part of the time since it was taken is charged, but no more
                than was expected of it.
        """
        with self._changed:
            run = self._running.pop(job, None)
            if run is None:
                return
            estimate = self._estimates.pop(job)
            self._ids.discard(job.id)
            if elapsed_s is None:
                spent = (time.perf_counter() - run.began) / run.size
                self._waiting.finish(job, min(spent, estimate.seconds))
            else:
                self._waiting.finish(job, elapsed_s)
                if job.device is not None:
                    self._costs.observe(job.settings, job.device, elapsed_s)
                    self._learned = True
            self._positions_changed()

    def requeue(self, jobs: Sequence[JobHandle]) -> None:
        """Let jobs that were taken wait again, in their turn: what they ran on is gone.

        Nothing is charged, and the capacity does not count. Whoever listens is told that the job
        waits. One that shall be cancelled ends so, as all of them do after close().

        Args:
            jobs: those that run; others are left alone.
        """
        for position, job in enumerate(jobs, start=1):
            # Before anybody can take and start it; its true place follows.
            job.publish(Queued(position))
        with self._changed:
            back = [job for job in jobs if self._running.pop(job, None) is not None]
            for job in back:
                self._waiting.requeue(job)
            # Whoever cancels sets the mark before looking for the job among those that wait.
            ended = [job for job in back if self._closed or job.cancel_requested]
            for job in ended:
                self._drop(job)
            self._positions_changed()
            self._changed.notify_all()
        for job in ended:
            job.publish(Cancelled())

    def discard(self, job: JobHandle) -> None:
        """Take a waiting job out and end it as cancelled; its owner's later ones move up."""
        with self._changed:
            if job not in self._waiting:
                return
            self._drop(job)
            self._positions_changed()
        job.publish(Cancelled())

    def view(self) -> QueueView:
        """The queue at this moment."""
        with self._changed:
            now = time.perf_counter()
            return QueueView(
                waiting=tuple(
                    WaitingJob(
                        id=job.id,
                        owner=job.owner,
                        position=position,
                        wait_s=wait.seconds,
                        wait_error=wait.error,
                        cost_s=self._estimates[job].seconds,
                    )
                    for position, (job, wait) in enumerate(self._estimated_waits(now), start=1)
                ),
                running=tuple(
                    RunningJob(
                        id=job.id,
                        owner=job.owner,
                        device=job.device,
                        elapsed_s=now - run.began,
                        remaining_s=run.left(now).seconds,
                    )
                    for job, run in self._running.items()
                ),
            )

    def pause(self) -> None:
        """Give out no more jobs; new ones are taken and wait, and what runs goes on."""
        with self._changed:
            self._paused = True

    @property
    def closed(self) -> bool:
        """True after close()."""
        return self._closed

    def close(self) -> None:
        """Refuse new jobs, cancel all there are, and let the takers go. Idempotent."""
        with self._changed:
            self._closed = True
            dropped = tuple(self._waiting)
            running = tuple(self._running)
            for job in dropped:
                self._drop(job)
            if self._timer is not None:
                self._timer.cancel()
                self._timer = None
            self._changed.notify_all()
        for job in dropped:
            job.publish(Cancelled())
        for job in running:
            job.cancel()

    # All that follows is called with the lock held, but for _publish_positions.

    def _has_turn(self) -> bool:
        return bool(self._waiting) and not self._paused

    def _drop(self, job: JobHandle) -> None:
        self._waiting.remove(job)
        del self._estimates[job]
        self._ids.discard(job.id)

    def _like(self, first: JobHandle, room: int) -> list[JobHandle]:
        key = batch_key(first.settings)
        near = islice(self._waiting, _LOOK_AHEAD)
        return list(islice((job for job in near if batch_key(job.settings) == key), room))

    def _left(self, now: float) -> Estimate:
        """The rest of all that runs; a batch counts once."""
        runs = {id(run): run for run in self._running.values()}
        return total(run.left(now) for run in runs.values())

    def _estimated_waits(self, now: float) -> Iterator[tuple[JobHandle, Estimate]]:
        order = tuple(self._waiting)
        costs = (self._estimates[job] for job in order)
        return zip(order, estimated_waits(self._left(now), costs, self._costs.workers), strict=True)

    def _position_of(self, job: JobHandle) -> Queued:
        """Return the position of a job; with very many before it, their costs are extrapolated."""
        position = self._waiting.rank(job)
        near = total(
            self._estimates[other]
            for other in islice(self._waiting, min(position - 1, _LOOK_AHEAD))
        )
        factor = max(1.0, (position - 1) / _LOOK_AHEAD)
        ahead = Estimate(near.seconds * factor, near.error)
        wait = total((self._left(time.perf_counter()), ahead))
        return Queued(position, wait.seconds / self._costs.workers, wait.error)

    def _positions_changed(self) -> None:
        """Let the waiting jobs be told, at once or when the interval is over."""
        if self._timer is None and self._waiting and not self._closed:
            pause = self._told_at + self._interval_s - time.perf_counter()
            self._timer = threading.Timer(max(0.0, pause), self._publish_positions)
            self._timer.name = "engine-positions"
            self._timer.daemon = True  # as the workers
            self._timer.start()

    def _publish_positions(self) -> None:
        with self._changed:
            self._timer = None
            self._told_at = time.perf_counter()
            self._reprice()
            self._version += 1
            version = self._version
            places = [
                (job, Queued(position, wait.seconds, wait.error))
                for position, (job, wait) in enumerate(
                    self._estimated_waits(self._told_at), start=1
                )
            ]
        for job, place in places:
            job.publish_position(place, version)

    def _reprice(self) -> None:
        """Let the waiting jobs know what has been learned since they were put in."""
        if not self._learned:
            return
        self._learned = False
        for job in tuple(self._waiting):
            estimate = self._costs.estimate(job.settings)
            known = self._estimates[job]
            self._estimates[job] = estimate
            if abs(estimate.seconds / known.seconds - 1) > _NEWS:
                self._waiting.reprice(job, _cost(job, estimate))


def _cost(job: JobHandle, estimate: Estimate) -> float:
    """Return the seconds charged to the owner of a waiting job; the rest is charged at its end."""
    return min(_BEGUN_S, estimate.seconds) if job.begun else estimate.seconds
