"""Limit how often cards are edited, and tell when to try again after Discord failed."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator
from typing import Final

_IN_CHANNEL: Final = 0.5
"""Share of the least interval that each card of a channel adds: Discord counts by channel."""
_IN_ALL: Final = 0.025
"""The same for each card anywhere: Discord allows 50 requests a second, for everything."""


_TRIES: Final = 4
_LONGER: Final = 3.0
_LONGEST_S: Final = 60.0
"""Whoever waits is served within a minute of the trouble's end."""


class EditThrottle:
    """The time between two edits of a card, which grows with the number of cards.

    With the default of two seconds a channel sees at most about one edit of progress a second, and
    Discord 20, however many clips are under way.

    Args:
        least_s: seconds between two edits of a card that is alone.
        retry_s: seconds until a last card is tried again; then longer and longer.
    """

    def __init__(self, least_s: float, retry_s: float) -> None:
        self._least_s = least_s
        self._retry_s = retry_s
        self._cards: Counter[int] = Counter()

    def enter(self, channel_id: int) -> None:
        """One more card is live in the channel."""
        self._cards[channel_id] += 1

    def leave(self, channel_id: int) -> None:
        """One less."""
        self._cards[channel_id] -= 1
        if not self._cards[channel_id]:
            del self._cards[channel_id]

    def interval_s(self, channel_id: int) -> float:
        """Seconds between two edits of a card of the channel."""
        crowd = max(_IN_CHANNEL * self._cards[channel_id], _IN_ALL * self._cards.total())
        return self._least_s * max(1.0, crowd)

    @property
    def retry_s(self) -> float:
        """Seconds until something that failed is tried again for the first time."""
        return self._retry_s

    def retries_s(self, *, patient: bool) -> Iterator[float]:
        """Yield the seconds between tries to show a last card; without end, if patient."""
        pause, tries = self._retry_s, 0
        while patient or tries < _TRIES:
            yield pause
            pause, tries = min(_LONGER * pause, _LONGEST_S), tries + 1


class RetrySchedule:
    """Tells when each of many things may be tried again: after longer and longer intervals.

    Args:
        first_s: seconds until the first time.
        longest_s: seconds that are never exceeded.
    """

    def __init__(self, first_s: float, longest_s: float) -> None:
        self._first_s = first_s
        self._longest_s = longest_s
        self._next: dict[str, tuple[float, float]] = {}

    def due(self, key: str) -> bool:
        """Return whether it is time for `key`, and begin its next pause if so."""
        now = time.perf_counter()
        at, pause = self._next.get(key, (now, self._first_s))
        if now < at:
            return False
        self._next[key] = now + pause, min(2 * pause, self._longest_s)
        return True
