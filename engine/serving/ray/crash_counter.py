"""Crash counter: counts the actors that each job has lost."""

from __future__ import annotations

import threading
from typing import Final
from weakref import WeakKeyDictionary

from engine.serving.events import Failed, FailureReason
from engine.serving.job_handle import JobHandle

MOST_LOST: Final = 3
"""A job that has lost so many actors may be what kills them."""

GIVEN_UP: Final = Failed(
    FailureReason.WORKER_LOST,
    f"{MOST_LOST} machines that made this clip went away before it was done, one after the other; "
    "it is not tried again by itself.",
)


class CrashCounter:
    """Counts, for all workers of a pool. Safe to use from several threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._lost: WeakKeyDictionary[JobHandle, int] = WeakKeyDictionary()

    def count(self, job: JobHandle) -> int:
        """Count one more; returns how many there are now."""
        with self._lock:
            self._lost[job] = self._lost.get(job, 0) + 1
            return self._lost[job]
