"""Batch queue: the jobs that an actor has been sent and has not begun."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Hashable, Mapping, Sequence

from engine.serving.events import Cancelled
from engine.serving.job_handle import JobHandle
from engine.serving.scheduling.scheduler import batch_key


class BatchQueue:
    """A batch whose turn has been settled by the engine's queue. Safe to use from several threads.

    The engine sends the next batch when this one has ended.
    """

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._waiting: deque[JobHandle] = deque()
        self._limits: dict[Hashable, int] = {}
        self._closed = False

    def put(self, jobs: Sequence[JobHandle]) -> None:
        """Append jobs of one batch key."""
        with self._changed:
            self._waiting.extend(jobs)
            self._changed.notify()

    def next_batch(self, limit: Callable[[JobHandle], int]) -> tuple[JobHandle, ...]:
        """Wait for the batch, or what of it can be run at once; none after close()."""
        with self._changed:
            self._changed.wait_for(lambda: self._waiting or self._closed)
            if self._closed:
                return ()
            first = self._waiting[0]
            most = max(1, limit(first))
            self._limits[batch_key(first.settings)] = most
            return tuple(self._waiting.popleft() for _ in range(min(most, len(self._waiting))))

    def done(self, job: JobHandle, elapsed_s: float | None = None) -> None:
        """Note nothing: shares and costs are the engine's."""

    def discard(self, job: JobHandle) -> None:
        """End a job that has not been begun as cancelled; leave others alone."""
        with self._changed:
            if job not in self._waiting:
                return
            self._waiting.remove(job)
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
