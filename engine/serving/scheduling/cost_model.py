"""Cost model: predict the seconds of a clip from those that were made."""

from __future__ import annotations

import math
import threading
from collections import OrderedDict
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Final

ALPHA: Final = 0.2
"""Weight of the newest run once a few are known: about the last nine count."""

MAX_SHAPES: Final = 256
"""Remembered for each model and kind of device; the one not seen for longest makes room."""

MIN_SECONDS: Final = 0.01
MAX_SECONDS: Final = 1e7
MAX_ERROR: Final = 5.0

_FIRST_ERROR: Final = 0.3  # of a single run
_SCALED_ERROR: Final = 0.5  # of another shape of the model, until it is learned
_PRIOR_ERROR: Final = 1.0  # of a guess

# Seconds for each pixel, frame and step: between what the demo models need and what the published
# ones do, see benchmarks/README.md. Only to have a number before the first clip.
_PRIOR: Final = {"cpu": 1e-5, "mps": 2e-6}
_PRIOR_GPU: Final = 2e-7


@dataclass(frozen=True, slots=True)
class Estimate:
    """A duration that is not known yet.

    Attributes:
        seconds: what is expected, > 0.
        error: how far off such estimates are on average, as a part of ``seconds``: 0.2 is ±20 %.
            1 and more: a guess.
    """

    seconds: float
    error: float


@dataclass(frozen=True, slots=True, kw_only=True)
class RequestShape:
    """Size, length and steps of a request: what its time depends on.

    Attributes:
        width: pixels, as the height.
        device: the kind of device, such as "cpu" or the name of a GPU; "" where it is not known.
    """

    model: str
    width: int
    height: int
    num_frames: int
    steps: int
    device: str = ""

    @property
    def size(self) -> float:
        """Pixels times frames times steps, to which the time is proportional, roughly."""
        return float(self.width * self.height * self.num_frames * self.steps)

    def distance(self, other: RequestShape) -> float:
        """Return how far two shapes are apart; 0 if their times are the same."""
        factors = (
            (self.width * self.height, other.width * other.height),
            (self.num_frames, other.num_frames),
            (self.steps, other.steps),
        )
        return sum(abs(math.log(max(mine, 1) / max(its, 1))) for mine, its in factors)


class _Average:
    """Exponentially weighted seconds, and how far each run was from what was expected of it."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self.error = _FIRST_ERROR
        self._runs = 1

    def add(self, seconds: float) -> None:
        self._runs += 1
        rate = max(ALPHA, 1 / self._runs)  # a plain mean at first
        self.error += rate * (_error(self.seconds, seconds) - self.error)
        self.seconds += rate * (seconds - self.seconds)


class _Known:
    """Past runs of one model on one kind of device."""

    def __init__(self) -> None:
        self.averages: OrderedDict[RequestShape, _Average] = OrderedDict()
        self.scaled_error = _SCALED_ERROR

    def add(self, work: RequestShape, seconds: float) -> None:
        average = self.averages.get(work)
        if average is None:
            if self.averages:
                was_off = _error(self.scaled(work).seconds, seconds)
                self.scaled_error += ALPHA * (was_off - self.scaled_error)
            self.averages[work] = _Average(seconds)
            if len(self.averages) > MAX_SHAPES:
                self.averages.popitem(last=False)
        else:
            average.add(seconds)
            self.averages.move_to_end(work)

    def scaled(self, work: RequestShape) -> Estimate:
        """Estimate from the nearest shape; of equally near ones the latest."""
        nearest = min(reversed(self.averages), key=work.distance)
        average = self.averages[nearest]
        seconds = average.seconds * work.size / max(nearest.size, 1.0)
        return Estimate(seconds, max(average.error, self.scaled_error))


class CostModel:
    """Predicts the seconds of a run from past ones of the same model on the same kind of device.

    A shape that was run before is expected to take the exponentially weighted mean of its
    runs; another one the time of the nearest known shape of its model, scaled by pixels, frames
    and steps; and one of a model that never ran, a rough guess. Thread-safe. Nothing is kept on
    disk: `learn` takes in what the caller has kept.
    """

    def __init__(self) -> None:
        self._known: dict[tuple[str, str], _Known] = {}
        self._lock = threading.Lock()

    def predict(self, work: RequestShape) -> Estimate:
        """Return the expected seconds on the shape's kind of device; always positive."""
        with self._lock:
            known = self._known.get((work.model, work.device))
            if known is None:
                per_unit = _PRIOR.get(work.device, _PRIOR_GPU)
                estimate = Estimate(work.size * per_unit, _PRIOR_ERROR)
            elif (average := known.averages.get(work)) is not None:
                estimate = Estimate(average.seconds, average.error)
            else:
                estimate = known.scaled(work)
        return replace(estimate, seconds=min(max(estimate.seconds, MIN_SECONDS), MAX_SECONDS))

    def observe(self, work: RequestShape, seconds: float) -> None:
        """Learn from a run. What is no positive number of seconds is left out: a clock's fault."""
        if not (math.isfinite(seconds) and seconds > 0):
            return
        with self._lock:
            known = self._known.setdefault((work.model, work.device), _Known())
            known.add(work, min(max(seconds, MIN_SECONDS), MAX_SECONDS))

    def learn(self, runs: Iterable[tuple[RequestShape, float]]) -> None:
        """Learn from runs of the past, the oldest first."""
        for work, seconds in runs:
            self.observe(work, seconds)


def _error(expected: float, seconds: float) -> float:
    return min(abs(seconds / max(expected, MIN_SECONDS) - 1), MAX_ERROR)
