"""Watchdog: time limits for the phases of a worker's thread."""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final

from engine.serving.cancellation import WorkerAbandoned

FACTOR: Final = 20
"""A phase may take so many times as long as it usually does."""

FIRST_FACTOR: Final = 6
"""A phase that is new here may take so many times the setting: kernels are compiled, caches
filled, and nobody knows yet how slow the device is."""

_NEWEST_SHARE: Final = 0.3
_REMEMBERED: Final = 512


@dataclass(frozen=True, slots=True)
class HangTimeout:
    """A phase that has taken too long.

    Attributes:
        phase: what was being done.
        seconds: for how long.
        limit_s: how long it might have taken.
    """

    phase: str
    seconds: float
    limit_s: float


class Durations:
    """Usual durations of phases, by what they are about: the newest count most.

    Used by one thread at a time; handed on when a worker's thread is replaced.
    """

    def __init__(self) -> None:
        self._usual: OrderedDict[Hashable, float] = OrderedDict()

    def learn(self, key: Hashable, seconds: float) -> None:
        """Record the duration of a phase."""
        known = self._usual.pop(key, seconds)
        self._usual[key] = known + _NEWEST_SHARE * (seconds - known)
        if len(self._usual) > _REMEMBERED:
            self._usual.popitem(last=False)

    def usual(self, key: Hashable) -> float | None:
        """Return the usual seconds; None when it has never been done."""
        return self._usual.get(key)


class Watchdog:
    """Heartbeats of one thread, watched by another, which can abandon the first.

    Args:
        hang_after_s: a phase that takes longer has hung, unless it usually takes longer than a
            twentieth of that; a phase that has never been gone through may take six times as long.
        durations: what is known of earlier phases; learns.
        clock: seconds that never run backwards.
    """

    def __init__(
        self,
        hang_after_s: float,
        durations: Durations | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._hang_after_s = hang_after_s
        self._durations = durations or Durations()
        self._clock = clock
        self._lock = threading.Lock()
        self._phase: str | None = None
        self._key: Hashable = None
        self._since = clock()
        self._limit_s = hang_after_s
        self._abandoned = False

    @property
    def phase(self) -> str | None:
        """The phase that the thread is in; None when it waits for work."""
        with self._lock:
            return self._phase

    def enter_phase(self, phase: str, about: Hashable = None) -> None:
        """Start a phase; the duration of the last one is learned.

        Args:
            phase: what it does, to be read after "while it was".
            about: what the time that it takes depends on.

        Raises:
            WorkerAbandoned: the thread has been abandoned.
        """
        with self._lock:
            self._raise_if_abandoned()
            now = self._clock()
            if self._phase is not None:
                self._durations.learn(self._key, now - self._since)
            self._phase, self._key, self._since = phase, (phase, about), now
            usual = self._durations.usual(self._key)
            self._limit_s = (
                FIRST_FACTOR * self._hang_after_s
                if usual is None
                else max(self._hang_after_s, FACTOR * usual)
            )

    def heartbeat(self) -> None:
        """Restart the time limit within a phase of unknown length.

        Raises:
            WorkerAbandoned: the thread has been abandoned.
        """
        with self._lock:
            self._raise_if_abandoned()
            self._since = self._clock()

    def idle(self) -> None:
        """End the phase: the thread waits for work.

        Raises:
            WorkerAbandoned: the thread has been abandoned.
        """
        with self._lock:
            self._raise_if_abandoned()
            self._phase = None

    @contextmanager
    def critical_section(self) -> Iterator[None]:
        """Keep the thread from being abandoned while the body runs.

        Raises:
            WorkerAbandoned: it has been abandoned already.
        """
        with self._lock:
            self._raise_if_abandoned()
            yield

    def abandon(self, patience_s: float | None = None) -> HangTimeout | None:
        """Abandon the thread if its phase has taken too long; for another thread.

        Args:
            patience_s: a shorter limit, when nobody waits for the result any more.
        """
        with self._lock:
            if self._phase is None or self._abandoned:
                return None
            seconds = self._clock() - self._since
            limit_s = self._limit_s if patience_s is None else min(patience_s, self._limit_s)
            if seconds <= limit_s:
                return None
            self._abandoned = True
            return HangTimeout(self._phase, seconds, limit_s)

    def _raise_if_abandoned(self) -> None:
        if self._abandoned:
            raise WorkerAbandoned
