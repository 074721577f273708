"""Where a worker's thread has its jobs from."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from engine.serving.job import Job


class Source(Protocol):
    """The engine's queue, or what another machine has been sent of it."""

    def take_batch(self, limit: Callable[[Job], int]) -> tuple[Job, ...]:
        """Wait for jobs that are run together; none at the end. See `JobQueue.take_batch`."""

    def done(self, job: Job, elapsed_s: float | None = None) -> None:
        """Note that a job which was taken has ended. See `JobQueue.done`."""
