"""Shares and spreads with their 95 % intervals."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable
from dataclasses import dataclass

Z = 1.959964
"""Standard normal deviate of a two-sided 95 % interval."""


@dataclass(frozen=True, slots=True)
class Proportion:
    """A share of ``total`` trials."""

    hits: int
    total: int

    @classmethod
    def of(cls, votes: Iterable[bool | None]) -> Proportion:
        """Count votes; ``None`` is no trial."""
        cast = [vote for vote in votes if vote is not None]
        return cls(sum(cast), len(cast))

    @property
    def share(self) -> float | None:
        """``hits / total``; ``None`` without trials."""
        return self.hits / self.total if self.total else None

    @property
    def interval(self) -> tuple[float, float]:
        """Wilson's 95 % interval, which stays sound near 0 and 1 and for few trials."""
        if not self.total:
            return 0.0, 1.0
        n, p = self.total, self.hits / self.total
        centre = (p + Z * Z / (2 * n)) / (1 + Z * Z / n)
        half = Z * math.sqrt(p * (1 - p) / n + Z * Z / (4 * n * n)) / (1 + Z * Z / n)
        # At the ends rounding would leave a tail of 1e-17 beyond the possible.
        return max(centre - half, 0.0), min(centre + half, 1.0)

    def __str__(self) -> str:
        low, high = self.interval
        share = "no trials" if self.share is None else f"{self.share:.0%} ({low:.0%}-{high:.0%})"
        return f"{self.hits}/{self.total} = {share}"


@dataclass(frozen=True, slots=True)
class Distribution:
    """Statistics of the measurements of ``count`` clips, all in the unit of the measurement.

    ``mean_interval`` is the normal 95 % interval of the mean, ``median_interval`` that of the
    median by order statistics, which assumes nothing of the distribution.
    """

    count: int
    mean: float
    mean_interval: tuple[float, float]
    median: float
    median_interval: tuple[float, float]
    quartiles: tuple[float, float]

    @classmethod
    def of(cls, values: Iterable[float | None]) -> Distribution | None:
        """Sum up; ``None`` values are clips without the measurement. ``None`` if none has it."""
        known = sorted(value for value in values if value is not None)
        if not known:
            return None
        n = len(known)
        mean = statistics.fmean(known)
        half = Z * statistics.stdev(known) / math.sqrt(n) if n > 1 else math.inf
        reach = Z * math.sqrt(n) / 2
        low = max(math.floor(n / 2 - reach), 1)  # ranks, from 1
        high = min(math.ceil(n / 2 + 1 + reach), n)
        quarters = statistics.quantiles(known, n=4, method="inclusive") if n > 1 else known * 3
        return cls(
            count=n,
            mean=mean,
            # One clip says nothing of its kin; its own value keeps the JSON finite.
            mean_interval=(mean - half, mean + half) if n > 1 else (mean, mean),
            median=statistics.median(known),
            median_interval=(known[low - 1], known[high - 1]),
            quartiles=(quarters[0], quarters[2]),
        )

    def scaled(self, factor: float) -> Distribution:
        """The same in a unit that is ``1 / factor`` of this one's."""
        (a, b), (c, d), (e, f) = self.mean_interval, self.median_interval, self.quartiles
        return Distribution(
            count=self.count,
            mean=factor * self.mean,
            mean_interval=(factor * a, factor * b),
            median=factor * self.median,
            median_interval=(factor * c, factor * d),
            quartiles=(factor * e, factor * f),
        )
