"""Batch queue: the jobs that an actor has been sent and has not begun."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Hashable, Mapping, Sequence

from engine.serving.events import Cancelled
from engine.serving.job_handle import JobHandle
from engine.serving.scheduling.scheduler import batch_key


class BatchQueue:
    """Batches in the order they came in. Their turns have been settled by the engine's queue.

    Safe to use from several threads.
    """

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._batches: deque[deque[JobHandle]] = deque()
        self._limits: dict[Hashable, int] = {}
        self._closed = False

    def put(self, jobs: Sequence[JobHandle]) -> None:
        """Append jobs of one batch key, at least one."""
        with self._changed:
            self._batches.append(deque(jobs))
            self._changed.notify()

    def next_batch(self, limit: Callable[[JobHandle], int]) -> tuple[JobHandle, ...]:
        """Wait for the next batch, or what of it can be run at once; none after close()."""
        with self._changed:
            self._changed.wait_for(lambda: self._batches or self._closed)
            if self._closed:
                return ()
            waiting = self._batches[0]
            most = max(1, limit(waiting[0]))
            self._limits[batch_key(waiting[0].settings)] = most
            jobs = tuple(waiting.popleft() for _ in range(min(most, len(waiting))))
            if not waiting:
                self._batches.popleft()
            return jobs

    def done(self, job: JobHandle, elapsed_s: float | None = None) -> None:
        """Nothing to be noted: shares and costs are the engine's."""

    def discard(self, job: JobHandle) -> None:
        """End a job that has not been begun as cancelled; leave others alone."""
        with self._changed:
            batch = next((jobs for jobs in self._batches if job in jobs), None)
            if batch is None:
                return
            batch.remove(job)
            if not batch:
                self._batches.remove(batch)
        job.publish(Cancelled())

    def close(self) -> None:
        """Give out no more jobs."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    @property
    def closed(self) -> bool:
        """True after close()."""
        return self._closed

    @property
    def limits(self) -> Mapping[Hashable, int]:
        """By batch key, how many jobs were allowed in a batch the last time."""
        with self._changed:
            return dict(self._limits)
