"""The pauses between two tries to connect to Discord's gateway."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Final

STEADY_S: Final = 10.0
"""A connection that held for so long was in order; the next try needs no pause."""
SETTLED_S: Final = 300.0
"""After so long a new session (IDENTIFY) no longer counts against the next one."""
MAX_RESUMPTIONS: Final = 3
"""So many failed resumptions in a row make a session be given up."""

_PAUSES_S: Final = (0.0, 1.0, 3.0, 8.0, 20.0, 60.0)
_IDENTIFY_S: Final = 5.0
"""Discord wants at least so many seconds between two IDENTIFYs."""
_LONGEST_IDENTIFY_S: Final = 600.0
"""Discord voids the token after 1,000 IDENTIFYs in a day; this makes at most about 150."""
_JITTER: Final = 0.25


class GatewayBackoff:
    """Counts tries that came to nothing, and tells how long to wait before the next.

    Args:
        chance: returns a number in 0..1, for the jitter.
    """

    def __init__(self, chance: Callable[[], float] = random.random) -> None:
        self._chance = chance
        self._tries = 0
        self._failures = 0
        self._resumptions = 0
        self._identifies = 0

    def pause_s(self, *, resuming: bool) -> float:
        """Seconds to wait before a try that resumes a session or (IDENTIFY) begins a new one."""
        pause = _PAUSES_S[min(self._failures, len(_PAUSES_S) - 1)]
        if not resuming and self._tries > 0:
            shift = min(self._identifies - 1, 10)
            identify = _IDENTIFY_S * 2**shift if self._identifies else 0.0
            pause = max(pause, min(identify, _LONGEST_IDENTIFY_S), self._chance() * _IDENTIFY_S)
        return pause * (1.0 + _JITTER * self._chance())

    def note(self, lived_s: float, *, resumed: bool, identified: bool) -> None:
        """Take in how a try ended.

        Args:
            lived_s: seconds that its session held; 0 if there was none.
            resumed: it was to resume a session.
            identified: an IDENTIFY was sent.
        """
        self._tries += 1
        steady = lived_s >= STEADY_S
        self._failures = 0 if steady else self._failures + 1
        self._resumptions = 0 if steady or not resumed else self._resumptions + 1
        if lived_s >= SETTLED_S:
            self._identifies = 0
        elif identified:
            self._identifies += 1

    @property
    def steady(self) -> bool:
        """True if the last connection was in order."""
        return self._failures == 0

    def give_up_session(self) -> bool:
        """Return whether resumptions have failed too often; if so, begin to count anew."""
        if self._resumptions < MAX_RESUMPTIONS:
            return False
        # Another address is tried next: it has not failed yet.
        self._resumptions = self._failures = 0
        return True
