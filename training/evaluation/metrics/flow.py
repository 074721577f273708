"""Metrics of Farneback's optical flow."""

from __future__ import annotations

from training.evaluation.metrics.metric import EvaluatedClip, Need
from training.evaluation.metrics.per_clip import PerClipMetric
from training.evaluation.prompts import Prompt


class FlowSpeed(PerClipMetric):
    """Mean length of the flow over all pixels."""

    name = "flow"
    title = "mean flow (Farneback)"
    unit = "px a frame"
    needs = (Need.OPENCV,)

    def value(self, clip: EvaluatedClip, prompt: Prompt) -> float | None:
        """Measure a clip."""
        return clip.flow.speed if clip.flow else None


class WarpedDifference(PerClipMetric):
    """Mean absolute difference of frames after the flow between them is undone."""

    name = "warped_difference"
    title = "difference after undoing that flow"
    unit = "levels of 255"
    better = "lower"
    needs = (Need.OPENCV,)

    def value(self, clip: EvaluatedClip, prompt: Prompt) -> float | None:
        """Measure a clip."""
        return clip.flow.warped_difference if clip.flow else None


METRICS = (FlowSpeed(), WarpedDifference())
