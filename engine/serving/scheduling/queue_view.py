"""Queue view: positions, estimated waits and running jobs."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from engine.serving.scheduling.cost_model import Estimate


@dataclass(frozen=True, slots=True, kw_only=True)
class WaitingJob:
    """A job that waits.

    Attributes:
        position: 1 is next.
        wait_s: estimated seconds until it starts, ± ``wait_error`` x ``wait_s``.
        cost_s: estimated device seconds that it will take.
    """

    id: str
    owner: str
    position: int
    wait_s: float
    wait_error: float
    cost_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class RunningJob:
    """A job that runs.

    Attributes:
        device: a torch device name; None for the moment between being taken and being started.
        elapsed_s: seconds since it was taken.
        remaining_s: estimated seconds until it, and the batch it is part of, ends; >= 0.
    """

    id: str
    owner: str
    device: str | None
    elapsed_s: float
    remaining_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class QueueView:
    """The queue at one moment: waiting jobs in the order of their turns, and running ones."""

    waiting: tuple[WaitingJob, ...]
    running: tuple[RunningJob, ...]


@dataclass(frozen=True, slots=True)
class RunningBatch:
    """A job that one device runs, or several that were taken together.

    Attributes:
        began: when it was taken, by ``time.perf_counter()``.
        size: how many jobs.
        estimate: of all of them.
    """

    began: float
    size: int
    estimate: Estimate

    def left(self, now: float) -> Estimate:
        """Return the time that is left; 0 seconds when it should have ended already."""
        left = max(0.0, self.estimate.seconds - (now - self.began))
        return Estimate(left, self.estimate.error)


def total(estimates: Iterable[Estimate]) -> Estimate:
    """Add up estimates, whose errors may all have the same sign; 0 seconds for none."""
    seconds = off = 0.0
    for one in estimates:
        seconds += one.seconds
        off += one.seconds * one.error
    return Estimate(seconds, off / seconds if seconds else 0.0)


def estimated_waits(
    running: Estimate, waiting: Iterable[Estimate], workers: int
) -> Iterator[Estimate]:
    """Yield for each waiting job the time until it starts.

    Simple on purpose: the rest of what runs and all that comes before the job, divided by the
    number of workers.
    """
    seconds, off = running.seconds, running.seconds * running.error
    for one in waiting:
        yield Estimate(seconds / workers, off / seconds if seconds else 0.0)
        seconds += one.seconds
        off += one.seconds * one.error
