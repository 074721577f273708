"""The jobs that are rendered together, as long as they have not ended."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

from engine.serving.cancellation import Interrupted
from engine.serving.events import Cancelled, Terminal
from engine.serving.job_handle import Job

Commit = Callable[[], None]


class Settle(Protocol):
    """Ends a job for good: out of the queue, and its terminal event published.

    Raises:
        Abandoned: somebody else has ended it, for this thread has been given up.
        OSError: what ``commit`` raises; the job has not ended then.
    """

    def __call__(self, job: Job, outcome: Terminal, commit: Commit | None = None) -> None:
        """``commit`` is called only if the job may still have this outcome."""


class Party:
    """Jobs of one batch; each ends by itself, once.

    Args:
        jobs: at least one.
        settle: see `Settle`.
    """

    def __init__(self, jobs: Sequence[Job], settle: Settle) -> None:
        self._left = dict.fromkeys(jobs)
        self._settle = settle

    @property
    def left(self) -> tuple[Job, ...]:
        """Those that have not ended, in order."""
        return tuple(self._left)

    def has(self, job: Job) -> bool:
        """Whether a job has not ended."""
        return job in self._left

    def end(self, job: Job, outcome: Terminal, commit: Commit | None = None) -> None:
        """End one of them. Raises as `Settle`."""
        self._settle(job, outcome, commit)
        del self._left[job]

    def end_cancelled(self) -> None:
        """End those that shall be cancelled, and the work with the last of them.

        Raises:
            Interrupted: none is left.
            Abandoned: see `Settle`.
        """
        for job in self.left:
            if job.cancel_requested:
                self.end(job, Cancelled())
        if not self._left:
            raise Interrupted
