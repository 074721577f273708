"""Job source: the place a worker's thread takes its jobs from."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from engine.serving.events import Cancelled, Failed, Finished, Terminal
from engine.serving.job_handle import JobHandle
from engine.serving.status import Tally


class JobSource(Protocol):
    """The engine's queue, or the batches that another machine has been sent."""

    @property
    def closed(self) -> bool:
        """True when no more jobs are given out."""

    def next_batch(self, limit: Callable[[JobHandle], int]) -> tuple[JobHandle, ...]:
        """Wait for jobs that are run together; none at the end. See `JobQueue.next_batch`."""

    def done(self, job: JobHandle, elapsed_s: float | None = None) -> None:
        """Note that a job which was taken has ended. See `JobQueue.done`."""


def finish_job(job: JobHandle, outcome: Terminal, source: JobSource, tally: Tally) -> Terminal:
    """Count the end of a job that was taken; tell the queue, then the job's listeners.

    In this order, so that whoever sees the end may submit that id again. A job that fails after it
    was to be cancelled counts as cancelled.

    Returns:
        The end that was told.
    """
    if isinstance(outcome, Failed) and job.cancel_requested:
        outcome = Cancelled()
    tally.count(outcome)
    source.done(job, outcome.result.elapsed_s if isinstance(outcome, Finished) else None)
    job.publish(outcome)
    return outcome
