"""Figures of one clip that need no prompt: steadiness of the object, and of the whole picture.

The names are this project's own. None of them is a figure of EvalCrafter, whose flow, warping
error and the rest rest on learnt networks.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from training.evaluation.flow import measure_flow
from training.judge import Thresholds
from training.judge.mask import Segmentation, dilate, erode, segment
from training.judge.thresholds import REFERENCE_SIDE

_LUMA = np.array((0.299, 0.587, 0.114))


@dataclass(frozen=True, slots=True, kw_only=True)
class ClipFigures:
    """Measurements of a clip; those of the object are ``None`` where under two frames show it."""

    colour_change: float | None
    """Root mean square distance of the frames' object colours (sRGB) from their mean, as a share
    of that mean's length."""
    size_change: float | None
    """Standard deviation of the object's area over the frames, as a share of its mean."""
    flicker: float
    """Mean absolute change from frame to frame, in levels of 255, where no object is."""
    sharpness: float
    """Variance of the Laplacian of the luma (levels of 255), mean of the frames."""
    colourfulness: float
    """Hasler and Suesstrunk's figure (2003), mean of the frames."""
    flow: float | None
    """Mean length of Farneback's optical flow over all pixels, px per frame."""
    warped_difference: float | None
    """What that flow leaves unexplained between frames, in levels of 255."""


def measure_figures(clip: npt.NDArray[np.uint8]) -> ClipFigures:
    """Measure a clip, uint8 ``[F, 3, H, W]`` with sides of 16 pixels or more."""
    seen = segment(clip, Thresholds())
    pixels = np.ascontiguousarray(clip.transpose(0, 2, 3, 1))  # [F, H, W, 3]
    luma = pixels @ _LUMA  # [F, H, W]
    flow = measure_flow(luma.round().astype(np.uint8))
    return ClipFigures(
        colour_change=_colour_change(pixels, seen),
        size_change=_size_change(seen),
        flicker=_flicker(pixels, seen),
        sharpness=_sharpness(luma),
        colourfulness=_colourfulness(pixels.astype(np.float64)),
        flow=flow.speed if flow else None,
        warped_difference=flow.warped_difference if flow else None,
    )


def _colour_change(pixels: npt.NDArray[np.uint8], seen: Segmentation) -> float | None:
    frames = np.flatnonzero(seen.found)
    if len(frames) < 2:
        return None
    core = erode(seen.mask)
    inks = np.stack([np.median(pixels[i][core[i]], axis=0) for i in frames])  # [N, 3]
    mean = inks.mean(axis=0)
    stray = np.sqrt(((inks - mean) ** 2).sum(axis=1).mean())
    return float(stray / max(float(np.linalg.norm(mean)), 1.0))


def _size_change(seen: Segmentation) -> float | None:
    if seen.found.sum() < 2:
        return None
    areas = seen.cover[seen.found].sum(axis=(1, 2), dtype=np.float64)
    return float(areas.std() / areas.mean())


def _flicker(pixels: npt.NDArray[np.uint8], seen: Segmentation) -> float:
    if len(pixels) < 2:
        return 0.0
    reach = max(round(3 * min(pixels.shape[1:3]) / REFERENCE_SIDE), 3)
    near = dilate(seen.mask, reach)
    empty = ~(near[1:] | near[:-1])  # [F - 1, H, W]
    change = np.abs(np.diff(pixels.astype(np.int16), axis=0)).mean(axis=-1)
    return float(change[empty].mean()) if empty.any() else float(change.mean())


def _sharpness(luma: npt.NDArray[np.float64]) -> float:
    middle = luma[:, 1:-1, 1:-1]
    around = luma[:, :-2, 1:-1] + luma[:, 2:, 1:-1] + luma[:, 1:-1, :-2] + luma[:, 1:-1, 2:]
    return float((around - 4 * middle).var(axis=(1, 2)).mean())


def _colourfulness(pixels: npt.NDArray[np.float64]) -> float:
    red, green, blue = pixels[..., 0], pixels[..., 1], pixels[..., 2]
    across, along = red - green, (red + green) / 2 - blue  # [F, H, W]
    deviation = np.hypot(across.std(axis=(1, 2)), along.std(axis=(1, 2)))
    mean = np.hypot(across.mean(axis=(1, 2)), along.mean(axis=(1, 2)))
    return float((deviation + 0.3 * mean).mean())
