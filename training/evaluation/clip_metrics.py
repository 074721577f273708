"""The metrics that every clip of a model's report is measured by, beside the judge's verdict."""

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np
import numpy.typing as npt

from training.evaluation.metrics import find_metrics
from training.evaluation.metrics.agreement import METRICS as JUDGED
from training.evaluation.metrics.first_frame import METRICS as WITH_PICTURES
from training.evaluation.metrics.metric import EvaluatedClip, Metric
from training.evaluation.prompts import Prompt


@dataclass(frozen=True, slots=True, kw_only=True)
class ClipMetrics:
    """Measurements of a clip that need no prompt; each is described by the metric of its name.

    Those of the object are ``None`` where under two frames show it. None of them is a figure of
    EvalCrafter, whose flow, warping error and the rest rest on learnt networks.
    """

    colour_change: float | None
    size_change: float | None
    flicker: float
    sharpness: float
    colourfulness: float
    flow: float | None
    warped_difference: float | None


NAMES = tuple(field.name for field in fields(ClipMetrics))


def measure_clip(clip: npt.NDArray[np.uint8]) -> ClipMetrics:
    """Measure a clip, uint8 ``[F, 3, H, W]`` with sides of 16 pixels or more."""
    return measure(EvaluatedClip(clip))


def measure(clip: EvaluatedClip) -> ClipMetrics:
    """Measure a clip."""
    known = {metric.name: metric for metric in find_metrics()}
    values = {name: known[name].measure([clip], [Prompt("")])[0] for name in NAMES}
    return ClipMetrics(**values)  # type: ignore[arg-type]  # some metrics always have a value


def added_metrics() -> tuple[Metric, ...]:
    """The metrics beyond those of :class:`ClipMetrics` and of the judge: files that were added."""
    reported = {*NAMES, *(metric.name for metric in (*JUDGED, *WITH_PICTURES))}
    return tuple(metric for metric in find_metrics() if metric.name not in reported)
