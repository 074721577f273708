"""Counting what was left out, and saying so without flooding the log."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterable

from training.data.errors import SampleError
from training.data.text import printable

LOGGED_PER_REASON = 20

logger = logging.getLogger(__name__)


class SkipCounter:
    """Counts of the draws that were left out, by reason; the first of each reason are logged."""

    def __init__(self) -> None:
        self._counts: Counter[str] = Counter()

    def add(self, errors: Iterable[SampleError]) -> None:
        """Count samples that could not be used."""
        for error in errors:
            self._counts[error.reason] += 1
            if self._counts[error.reason] <= LOGGED_PER_REASON:
                logger.warning("left out: %s", printable(str(error)))
            if self._counts[error.reason] == LOGGED_PER_REASON:
                logger.warning("more samples with %r are counted only", error.reason)

    def counts(self) -> dict[str, int]:
        """Draws left out so far, by reason, most frequent first."""
        return dict(self._counts.most_common())

    def __str__(self) -> str:
        return ", ".join(f"{count} {reason}" for reason, count in self.counts().items()) or "none"
