"""The first frame against the picture that an image-to-video model was given."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from training.evaluation.metrics.metric import EvaluatedClip, Need
from training.evaluation.metrics.per_clip import PerClipMetric
from training.evaluation.prompts import Prompt


def psnr(ours: npt.NDArray[np.uint8], theirs: npt.NDArray[np.uint8]) -> float:
    """Peak signal-to-noise ratio of two byte pictures in dB, at most 100."""
    error = float(np.mean((ours.astype(np.float64) - theirs.astype(np.float64)) ** 2))
    return min(100.0, 10 * math.log10(255**2 / error)) if error > 0 else 100.0


class FirstFramePsnr(PerClipMetric):
    """Peak signal-to-noise ratio of the first frame and the picture, both of one size."""

    name = "first_frame_psnr"
    title = "first frame against the picture"
    unit = "dB"
    better = "higher"
    needs = (Need.PICTURE,)

    def value(self, clip: EvaluatedClip, prompt: Prompt) -> float | None:
        """Measure a clip."""
        return None if clip.picture is None else psnr(clip.frames[0], clip.picture)


METRICS = (FirstFramePsnr(),)
