"""Agreement of clips with their prompts, as the judge sees it."""

from __future__ import annotations

from training.evaluation.metrics.metric import EvaluatedClip, Need
from training.evaluation.metrics.per_clip import PerClipMetric
from training.evaluation.prompts import Prompt

ASPECTS = ("colour", "background", "shape", "motion", "direction")
"""The aspects of a clip that a prompt may demand."""


def agrees(clip: EvaluatedClip, prompt: Prompt, aspect: str) -> bool | None:
    """Return whether a clip shows what a prompt demands; None if it demands nothing."""
    wanted = getattr(prompt, aspect)
    shown = getattr(clip.verdict, "motion" if aspect == "direction" else aspect)
    return None if wanted is None else bool(shown == wanted)


class AspectAgreement(PerClipMetric):
    """1 where the clip shows what the prompt demands of an aspect, else 0."""

    unit = "share"
    better = "higher"
    needs = (Need.FACTS,)

    def __init__(self, aspect: str) -> None:
        self._aspect = aspect
        self.name = f"{aspect}_as_asked"
        self.title = f"{aspect} as asked"

    def value(self, clip: EvaluatedClip, prompt: Prompt) -> float | None:
        """Measure a clip."""
        agreed = agrees(clip, prompt, self._aspect)
        return None if agreed is None else float(agreed)


class Steady(PerClipMetric):
    """1 where the judge sees one object throughout, without jitter, flicker or pulsing, else 0."""

    name = "steady"
    title = "steady: one object, no jitter, flicker or pulsing"
    unit = "share"
    better = "higher"

    def value(self, clip: EvaluatedClip, prompt: Prompt) -> float | None:
        """Measure a clip."""
        return float(clip.verdict.steady)


METRICS = (*(AspectAgreement(aspect) for aspect in ASPECTS), Steady())
