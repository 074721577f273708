"""The line of waiting jobs."""

from __future__ import annotations

import threading
from collections import deque

from engine.serving.errors import EngineClosed, QueueFullError, RequestError
from engine.serving.events import Cancelled
from engine.serving.job import Job


class JobQueue:
    """A bounded first-in first-out queue that knows places, running jobs and its own end.

    Lock order: the queue's lock may be held while a *new* job's is taken (nobody else has it yet),
    never otherwise; so events are published after the queue's lock has been released.
    """

    def __init__(self, capacity: int) -> None:
        self._capacity = capacity
        self._changed = threading.Condition()
        self._waiting: deque[Job] = deque()
        self._running: set[Job] = set()
        self._version = 0
        self._closed = False

    def put(self, job: Job) -> None:
        """Append a job; its first event is its place in the queue.

        Raises:
            EngineClosed: after close().
            QueueFullError: as many jobs wait as may.
            RequestError: a job of that id is waiting or running.
        """
        with self._changed:
            if self._closed:
                raise EngineClosed("The engine has been closed.")
            if len(self._waiting) >= self._capacity:
                raise QueueFullError(self._capacity)
            if any(other.id == job.id for other in (*self._waiting, *self._running)):
                raise RequestError("job_id", f"A job {job.id} is already waiting or running.")
            self._version += 1
            self._waiting.append(job)
            job.publish_position(len(self._waiting), self._version)
            self._changed.notify()

    def take(self) -> Job | None:
        """Wait for the next job, which counts as running from now on; None after close()."""
        with self._changed:
            while not self._waiting and not self._closed:
                self._changed.wait()
            if not self._waiting:
                return None
            job = self._waiting.popleft()
            self._running.add(job)
            places = self._places()
        self._tell(*places)
        return job

    def done(self, job: Job) -> None:
        """Note that a job which was taken has ended."""
        with self._changed:
            self._running.discard(job)

    def discard(self, job: Job) -> None:
        """Take a waiting job out and end it as cancelled; nothing happens to any other."""
        with self._changed:
            if job not in self._waiting:
                return
            self._waiting.remove(job)
            places = self._places()
        job.publish(Cancelled())
        self._tell(*places)

    def close(self) -> None:
        """Refuse new jobs, cancel all there are, and let the takers go. Idempotent."""
        with self._changed:
            self._closed = True
            dropped = tuple(self._waiting)
            running = tuple(self._running)
            self._waiting.clear()
            self._changed.notify_all()
        for job in dropped:
            job.publish(Cancelled())
        for job in running:
            job.cancel()

    def _places(self) -> tuple[int, tuple[Job, ...]]:
        self._version += 1
        return self._version, tuple(self._waiting)

    @staticmethod
    def _tell(version: int, waiting: tuple[Job, ...]) -> None:
        for position, job in enumerate(waiting, start=1):
            job.publish_position(position, version)
