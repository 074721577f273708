"""Sharpness and colour of the frames."""

from __future__ import annotations

import numpy as np

from training.evaluation.metrics.metric import EvaluatedClip
from training.evaluation.metrics.per_clip import PerClipMetric
from training.evaluation.prompts import Prompt


class Sharpness(PerClipMetric):
    """Variance of the Laplacian of the luma (levels of 255), mean of the frames."""

    name = "sharpness"
    title = "sharpness (variance of the Laplacian)"

    def value(self, clip: EvaluatedClip, prompt: Prompt) -> float | None:
        """Measure a clip."""
        luma = clip.luma
        middle = luma[:, 1:-1, 1:-1]
        around = luma[:, :-2, 1:-1] + luma[:, 2:, 1:-1] + luma[:, 1:-1, :-2] + luma[:, 1:-1, 2:]
        return float((around - 4 * middle).var(axis=(1, 2)).mean())


class Colourfulness(PerClipMetric):
    """Hasler and Suesstrunk's figure (2003), mean of the frames."""

    name = "colourfulness"
    title = "colourfulness (Hasler and Suesstrunk)"

    def value(self, clip: EvaluatedClip, prompt: Prompt) -> float | None:
        """Measure a clip."""
        pixels = clip.pixels.astype(np.float64)
        red, green, blue = pixels[..., 0], pixels[..., 1], pixels[..., 2]
        across, along = red - green, (red + green) / 2 - blue  # [F, H, W]
        deviation = np.hypot(across.std(axis=(1, 2)), along.std(axis=(1, 2)))
        mean = np.hypot(across.mean(axis=(1, 2)), along.mean(axis=(1, 2)))
        return float((deviation + 0.3 * mean).mean())


METRICS = (Sharpness(), Colourfulness())
