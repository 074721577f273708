"""Where a worker's thread has its jobs from."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from engine.serving.events import Cancelled, Failed, Finished, Terminal
from engine.serving.job_handle import Job
from engine.serving.status import Tally


class Source(Protocol):
    """The engine's queue, or what another machine has been sent of it."""

    @property
    def closed(self) -> bool:
        """Whether no more jobs are given out."""

    def take_batch(self, limit: Callable[[Job], int]) -> tuple[Job, ...]:
        """Wait for jobs that are run together; none at the end. See `JobQueue.take_batch`."""

    def done(self, job: Job, elapsed_s: float | None = None) -> None:
        """Note that a job which was taken has ended. See `JobQueue.done`."""


def tell_end(job: Job, outcome: Terminal, queue: Source, tally: Tally) -> Terminal:
    """Count how a job that was taken has ended, and tell: the queue, then whoever listens.

    In this order, so that whoever sees the end may submit that id again. A job that fails after it
    was to be cancelled counts as cancelled.

    Returns:
        The end that was told.
    """
    if isinstance(outcome, Failed) and job.cancel_requested:
        outcome = Cancelled()
    tally.count(outcome)
    queue.done(job, outcome.result.elapsed_s if isinstance(outcome, Finished) else None)
    job.publish(outcome)
    return outcome
