"""Naming a motion from the path, size and rotation of an object over the frames."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from training.judge.thresholds import Thresholds

FloatArray = npt.NDArray[np.float64]

MIN_FRAMES = 4
"""Frames that show the object from which a motion can be named: two second differences."""


@dataclass(frozen=True, slots=True)
class Trend:
    """A straight line through a curve over the frames.

    ``rate`` is the slope per frame, ``change`` the size of the line's rise or fall over all
    frames, ``residual`` the standard deviation about the line.
    """

    rate: float
    change: float
    residual: float

    @classmethod
    def fit(cls, frames: FloatArray, values: FloatArray) -> Trend:
        """Fit by least squares; ``frames`` and ``values`` are ``[N]`` with N >= 2."""
        centred = frames - frames.mean()
        rate = float(centred @ values / (centred @ centred))
        residual = float(np.std(values - values.mean() - rate * centred))
        return cls(rate, abs(rate) * float(np.ptp(frames)), residual)


def mean_jerk(frames: FloatArray, x: FloatArray, y: FloatArray) -> float | None:
    """Mean length of the second difference of a path, over runs of three frames in a row.

    ``frames`` are the (ascending) indices of the frames that show the object. ``None`` if no
    three follow each other.
    """
    if len(frames) < 3:
        return None
    second = np.hypot(np.diff(x, 2), np.diff(y, 2))
    in_a_row = frames[2:] - frames[:-2] == 2
    return float(second[in_a_row].mean()) if in_a_row.any() else None


@dataclass(frozen=True, slots=True)
class Tracks:
    """Curves over the frames that show the object, all ``[N]``; ``angle`` only with a fold."""

    frames: FloatArray
    x: FloatArray
    y: FloatArray
    log_radius: FloatArray
    angle: FloatArray | None


def name_motion(tracks: Tracks, jerk: float | None, unit: float, limits: Thresholds) -> str | None:
    """Name a motion of the world; ``None`` if the path is jitter or none of them.

    ``unit`` is the length, in pixels of the clip, of one pixel of the reference canvas.
    Of the motions that are fast enough the one that exceeds its limit most is named.
    """
    if len(tracks.frames) < MIN_FRAMES or jerk is None or jerk >= limits.max_jerk * unit:
        return None
    across = Trend.fit(tracks.frames, tracks.x / unit)
    down = Trend.fit(tracks.frames, tracks.y / unit)
    growth = Trend.fit(tracks.frames, tracks.log_radius)
    candidates = [
        (math.hypot(across.rate, down.rate) / limits.min_speed, _direction(across, down, limits)),
        (abs(growth.rate) / limits.min_growth, _growth(growth, limits)),
    ]
    if tracks.angle is not None:
        turn = Trend.fit(tracks.frames, tracks.angle)
        name = "spin" if turn.change >= limits.min_trend * turn.residual else None
        candidates.append((abs(turn.rate) / limits.min_spin, name))
    excess, motion = max(candidates, key=lambda candidate: candidate[0])
    if excess >= 1:
        return motion
    drift = math.hypot(float(np.std(tracks.x)), float(np.std(tracks.y))) / unit
    rests = drift <= limits.max_drift and 2 * growth.residual <= limits.max_area_variation
    return "still" if rests else None


def _direction(across: Trend, down: Trend, limits: Thresholds) -> str | None:
    main, other = (across, down) if abs(across.rate) >= abs(down.rate) else (down, across)
    # What the line leaves over counts on both axes: a circle's own axis alone looks straight.
    stray = math.hypot(main.residual, other.residual)
    if main.change < limits.min_trend * stray:
        return None
    if abs(main.rate) < limits.min_axis_ratio * abs(other.rate):
        return None
    if main is across:
        return "right" if main.rate > 0 else "left"
    return "down" if main.rate > 0 else "up"


def _growth(growth: Trend, limits: Thresholds) -> str | None:
    if growth.change < limits.min_trend * growth.residual:
        return None
    return "grow" if growth.rate > 0 else "shrink"
