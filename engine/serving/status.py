"""Worker status, for operators."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from engine.serving.events import Failed, FailureReason, Finished, Terminal

WorkerState = Literal["starting", "warming", "idle", "rendering", "stuck", "stopped"]


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadedModel:
    """A model that a worker keeps; ``bytes`` is the size of its weights."""

    name: str
    revision: str
    bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerStatus:
    """One worker at this moment.

    Attributes:
        device: a torch device name.
        state: "starting" before its thread runs, "warming" while the first models are loaded,
            "idle", "rendering", "stuck" when too many of its threads hang for another to be
            started, "stopped" after the end.
        phase: what it is doing just now, such as "loading unet"; None when idle.
        jobs: ids of the jobs it has taken.
        models: what it keeps, the one that was used last at the end.
        broken_models: name to reason of those that could not be loaded the last time.
        broken_revisions: of those among them that are not tried again yet, by name.
        jobs_done: clips made since the start.
        failures: jobs that failed since the start, by reason.
        replaced: threads given up since the start because they hung.
        memory_free_bytes: of the device; of the machine, where the device is the CPU.
        memory_total_bytes: likewise.
    """

    device: str
    state: WorkerState
    phase: str | None = None
    jobs: tuple[str, ...] = ()
    models: tuple[LoadedModel, ...] = ()
    broken_models: Mapping[str, str] = field(default_factory=dict)
    broken_revisions: Mapping[str, str] = field(default_factory=dict)
    jobs_done: int = 0
    failures: Mapping[FailureReason, int] = field(default_factory=dict)
    replaced: int = 0
    memory_free_bytes: int = 0
    memory_total_bytes: int = 0


class Tally:
    """Counts how jobs ended. Safe to use from several threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._done = 0
        self._failures: Counter[FailureReason] = Counter()

    def count(self, outcome: Terminal) -> None:
        """Add one job; cancelled ones are not counted."""
        with self._lock:
            if isinstance(outcome, Finished):
                self._done += 1
            elif isinstance(outcome, Failed):
                self._failures[outcome.reason] += 1

    @property
    def done(self) -> int:
        """Clips that were made."""
        with self._lock:
            return self._done

    @property
    def failures(self) -> Mapping[FailureReason, int]:
        """Jobs that failed, by reason."""
        with self._lock:
            return dict(self._failures)
