"""The life of a job: its states, and which may follow which."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from types import MappingProxyType
from typing import Final


class JobState(StrEnum):
    """The state of a job. The last three are final."""

    QUEUED = "queued"
    RUNNING = "running"
    RENDERED = "rendered"
    DELIVERED = "delivered"
    FAILED = "failed"
    CANCELLED = "cancelled"

    @property
    def final(self) -> bool:
        """True if no state follows this one."""
        return not TRANSITIONS[self]


_ENDINGS: Final = frozenset({JobState.FAILED, JobState.CANCELLED})

TRANSITIONS: Final[Mapping[JobState, frozenset[JobState]]] = MappingProxyType(
    {
        JobState.QUEUED: _ENDINGS | {JobState.RUNNING},
        # Back to queued: the process ended during the render, and the job is run again.
        JobState.RUNNING: _ENDINGS | {JobState.RENDERED, JobState.QUEUED},
        JobState.RENDERED: _ENDINGS | {JobState.DELIVERED},
        JobState.DELIVERED: frozenset(),
        JobState.FAILED: frozenset(),
        JobState.CANCELLED: frozenset(),
    }
)

UNFINISHED: Final = tuple(state for state in JobState if TRANSITIONS[state])
