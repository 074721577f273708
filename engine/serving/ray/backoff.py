"""Backoff before an actor or the cluster is asked for again."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final

FIRST_S: Final = 1.0
LONGEST_S: Final = 60.0


class ActorBackoff:
    """Pauses of 1, 2, 4, … up to 60 seconds, from 1 again after a minute without a failure.

    Args:
        clock: seconds that never run backwards.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._next_s = FIRST_S
        self._began: float | None = None

    def begin(self) -> None:
        """Note that the attempt has succeeded."""
        self._began = self._clock()

    def pause_s(self) -> float:
        """Note a failure; returns the seconds to wait."""
        if self._began is not None and self._clock() - self._began > LONGEST_S:
            self._next_s = FIRST_S
        self._began = None
        pause, self._next_s = self._next_s, min(2 * self._next_s, LONGEST_S)
        return pause
