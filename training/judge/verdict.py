"""The judge: what a clip shows, by classical vision alone."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from training.data.synthetic import BACKGROUNDS, COLOURS
from training.judge.colour import nearest_name
from training.judge.mask import Segmentation, segment
from training.judge.motion import Tracks, Trend, mean_jerk, name_motion
from training.judge.shape import FOLDS, Outline, measure, misfits, unwrapped
from training.judge.thresholds import REFERENCE_SIDE, Thresholds


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """The judge's verdict on a clip.

    Names are those of :mod:`training.data.synthetic`, or ``None`` where nothing fits. Lengths are
    pixels of the clip. Figures of the object are ``None`` when too few frames show it.
    """

    found: bool
    """True if at least half of the frames show one object on a plain background."""
    visible: float
    """Share of the frames that show it, 0..1."""
    background: str | None
    colour: str | None
    shape: str | None
    motion: str | None
    """Named only when the jerk is below its limit: a jittering blob has no motion."""
    misfit: float | None
    """Area in which the object and the ideal ``shape`` (or the nearest) differ, over its area."""
    displacement: tuple[float, float] | None
    """Mean velocity (right, down) in px per frame."""
    growth: float | None
    """Change of the natural log of the radius per frame."""
    turn: float | None
    """Rotation in radians per frame, clockwise positive; ``None`` for shapes without corners."""
    jerk: float | None
    """Mean length of the second difference of the centroid, px."""
    colour_variation: float | None
    """Mean Lab distance of the frames' object colours from their median."""
    area_variation: float | None
    """Standard deviation of the log area about its straight trend."""
    steady: bool
    """Found throughout, without jitter, flicker or pulsing, whatever the motion."""


def judge(clip: npt.ArrayLike, limits: Thresholds | None = None) -> Verdict:
    """Judge a clip.

    Args:
        clip: uint8 ``[F, 3, H, W]``, sRGB; an array or a CPU tensor.
        limits: Other thresholds than the documented ones.

    Raises:
        ValueError: If the clip has another shape or type, no frames, or sides under 16 pixels.
    """
    limits = limits or Thresholds()
    frames = np.asarray(clip)
    if frames.dtype != np.uint8 or frames.ndim != 4 or frames.shape[1] != 3:
        raise ValueError(
            f"a clip must be uint8 [F, 3, H, W], not {frames.dtype} {list(frames.shape)}"
        )
    if len(frames) == 0 or min(frames.shape[2:]) < 16:
        raise ValueError(
            f"a clip needs a frame and sides of 16 pixels or more, not {list(frames.shape)}"
        )
    seen = segment(frames, limits)
    background = nearest_name(seen.background, BACKGROUNDS, limits.max_background_distance)
    visible = float(seen.found.mean())
    if seen.ink is None or visible < limits.min_visible:
        return _nothing(visible, background)
    colour = nearest_name(seen.ink, COLOURS, limits.max_colour_distance)
    return _describe(seen, seen.ink, visible, background, colour, limits)


def _nothing(visible: float, background: str | None) -> Verdict:
    return Verdict(
        found=False,
        visible=visible,
        background=background,
        colour=None,
        shape=None,
        motion=None,
        misfit=None,
        displacement=None,
        growth=None,
        turn=None,
        jerk=None,
        colour_variation=None,
        area_variation=None,
        steady=False,
    )


def _describe(
    seen: Segmentation,
    ink: npt.NDArray[np.float32],
    visible: float,
    background: str | None,
    colour: str | None,
    limits: Thresholds,
) -> Verdict:
    unit = min(seen.mask.shape[1:]) / REFERENCE_SIDE
    outline = measure(seen.cover[seen.found])
    shape, misfit = _name_shape(seen, outline)
    fold = FOLDS[shape]
    order = np.flatnonzero(seen.found).astype(np.float64)
    tracks = Tracks(
        frames=order,
        x=outline.x,
        y=outline.y,
        log_radius=np.log(outline.area) / 2,
        angle=unwrapped(outline.angles[shape], fold) if fold else None,
    )
    jerk = mean_jerk(order, outline.x, outline.y)
    spread = float(np.linalg.norm(seen.inks[seen.found] - ink, axis=1).mean())
    rates: tuple[float, float, float] | None = None
    turn: float | None = None
    area_variation: float | None = None
    if len(order) >= 2:
        growth = Trend.fit(order, tracks.log_radius)
        rates = Trend.fit(order, tracks.x).rate, Trend.fit(order, tracks.y).rate, growth.rate
        area_variation = 2 * growth.residual
        if tracks.angle is not None:
            turn = Trend.fit(order, tracks.angle).rate
    steady = (
        visible >= limits.steady_visible
        and jerk is not None
        and jerk < limits.max_jerk * unit
        and spread <= limits.max_colour_variation
        and area_variation is not None
        and area_variation <= limits.max_area_variation
    )
    return Verdict(
        found=True,
        visible=visible,
        background=background,
        colour=colour,
        shape=shape if misfit <= limits.max_misfit else None,
        motion=name_motion(tracks, jerk, unit, limits),
        misfit=misfit,
        displacement=rates[:2] if rates else None,
        growth=rates[2] if rates else None,
        turn=turn,
        jerk=jerk,
        colour_variation=spread,
        area_variation=area_variation,
        steady=steady,
    )


def _name_shape(seen: Segmentation, outline: Outline) -> tuple[str, float]:
    """The shape with the least mean misfit, and that misfit."""
    per_frame = misfits(seen.cover[seen.found], outline)
    # A shape cut off by the edge of the canvas is another shape: leave those frames out if any
    # others are left.
    mask = seen.mask[seen.found]
    whole = ~(mask[:, [0, -1]].any(axis=(1, 2)) | mask[:, :, [0, -1]].any(axis=(1, 2)))  # [N]
    use = whole if whole.any() else np.ones_like(whole)
    means = {shape: float(values[use].mean()) for shape, values in per_frame.items()}
    best = min(means, key=lambda shape: means[shape])
    return best, means[best]
