"""Metrics that look at one clip at a time."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from typing import Literal

from training.evaluation.metrics.metric import EvaluatedClip, Metric, Need
from training.evaluation.prompts import Prompt


class PerClipMetric(Metric):
    """A metric of one clip and its prompt."""

    needs: tuple[Need, ...] = ()
    better: Literal["higher", "lower"] | None = None
    unit = ""

    @abstractmethod
    def value(self, clip: EvaluatedClip, prompt: Prompt) -> float | None:
        """Measure a clip; None where it cannot be."""

    def measure(
        self, clips: Sequence[EvaluatedClip], prompts: Sequence[Prompt]
    ) -> list[float | None]:
        """Measure each clip."""
        return [self.value(clip, prompt) for clip, prompt in zip(clips, prompts, strict=True)]
