"""Steadiness of the object, and of the background around it."""

from __future__ import annotations

import numpy as np

from training.evaluation.metrics.metric import EvaluatedClip
from training.evaluation.metrics.per_clip import PerClipMetric
from training.evaluation.prompts import Prompt
from training.judge.mask import dilate, erode
from training.judge.thresholds import REFERENCE_SIDE


class ColourChange(PerClipMetric):
    """Root mean square distance of the frames' object colours (sRGB) from their mean.

    As a share of that mean's length; None where under two frames show the object.
    """

    name = "colour_change"
    title = "change of the object's colour"
    unit = "share"
    better = "lower"

    def value(self, clip: EvaluatedClip, prompt: Prompt) -> float | None:
        """Measure a clip."""
        seen = clip.segmentation
        frames = np.flatnonzero(seen.found)
        if len(frames) < 2:
            return None
        core = erode(seen.mask)
        inks = np.stack([np.median(clip.pixels[i][core[i]], axis=0) for i in frames])  # [N, 3]
        mean = inks.mean(axis=0)
        stray = np.sqrt(((inks - mean) ** 2).sum(axis=1).mean())
        return float(stray / max(float(np.linalg.norm(mean)), 1.0))


class SizeChange(PerClipMetric):
    """Standard deviation of the object's area over the frames, as a share of its mean.

    None where under two frames show the object.
    """

    name = "size_change"
    title = "change of its size (area)"
    unit = "share"
    better = "lower"

    def value(self, clip: EvaluatedClip, prompt: Prompt) -> float | None:
        """Measure a clip."""
        seen = clip.segmentation
        if seen.found.sum() < 2:
            return None
        areas = seen.cover[seen.found].sum(axis=(1, 2), dtype=np.float64)
        return float(areas.std() / areas.mean())


class Flicker(PerClipMetric):
    """Mean absolute change from frame to frame, in levels of 255, where no object is."""

    name = "flicker"
    title = "flicker of the background"
    unit = "levels of 255"
    better = "lower"

    def value(self, clip: EvaluatedClip, prompt: Prompt) -> float | None:
        """Measure a clip."""
        pixels = clip.pixels
        if len(pixels) < 2:
            return 0.0
        reach = max(round(3 * min(pixels.shape[1:3]) / REFERENCE_SIDE), 3)
        near = dilate(clip.segmentation.mask, reach)
        empty = ~(near[1:] | near[:-1])  # [F - 1, H, W]
        change = np.abs(np.diff(pixels.astype(np.int16), axis=0)).mean(axis=-1)
        return float(change[empty].mean()) if empty.any() else float(change.mean())


METRICS = (ColourChange(), SizeChange(), Flicker())
