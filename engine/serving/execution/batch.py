"""A batch: the jobs that are rendered together, as long as they have not ended."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from engine.serving.cancellation import BatchInterrupted
from engine.serving.execution.watchdog import Watchdog
from engine.serving.job_handle import JobHandle


class JobBatch:
    """Jobs that one thread renders; each leaves when its end is decided, once.

    The watchdog decides who ends a job: the thread that renders it, or, when that has been
    abandoned, the one that has done so. What both change is changed under the watchdog's lock.

    Args:
        jobs: at least one.
        watchdog: of the thread that renders them.
        whole: the batch that this is a part of.
    """

    def __init__(
        self, jobs: Sequence[JobHandle], watchdog: Watchdog, whole: JobBatch | None = None
    ) -> None:
        self._remaining = dict.fromkeys(jobs)
        self._watchdog = watchdog
        self._whole = whole

    def __contains__(self, job: JobHandle) -> bool:
        return job in self._remaining

    @property
    def remaining(self) -> tuple[JobHandle, ...]:
        """The jobs that have not ended, in order. For any thread."""
        return tuple(self._remaining)

    def halves(self) -> tuple[JobBatch, JobBatch]:
        """Return the remaining jobs as two batches, whose jobs leave this one, too."""
        jobs = self.remaining
        half = len(jobs) // 2
        first, second = (
            JobBatch(part, self._watchdog, self) for part in (jobs[:half], jobs[half:])
        )
        return first, second

    @contextmanager
    def ending(self, job: JobHandle) -> Iterator[None]:
        """Let a job leave after the body, while nobody can abandon the thread.

        What the body raises keeps the job in the batch.

        Raises:
            WorkerAbandoned: somebody else has ended the job; the body does not run.
        """
        with self._watchdog.critical_section():
            yield
            self._drop(job)

    def take_cancelled(self) -> Iterator[JobHandle]:
        """Let the jobs that shall be cancelled leave, one after the other.

        Raises:
            BatchInterrupted: none is left.
            WorkerAbandoned: somebody else has ended them.
        """
        for job in self.remaining:
            if job.cancel_requested:
                with self.ending(job):
                    pass
                yield job
        if not self._remaining:
            raise BatchInterrupted

    def _drop(self, job: JobHandle) -> None:
        del self._remaining[job]
        if self._whole is not None:
            self._whole._drop(job)
