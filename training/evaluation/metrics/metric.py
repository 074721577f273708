"""The interface of a metric, and the clips that it measures."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import cached_property
from typing import Literal, Protocol

import numpy as np
import numpy.typing as npt

from training.evaluation.metrics.optical_flow import OpticalFlow, flow_is_available, measure_flow
from training.evaluation.prompts import Prompt
from training.judge import Thresholds, Verdict, judge
from training.judge.mask import Segmentation, segment

_LUMA = np.array((0.299, 0.587, 0.114))


class Need(StrEnum):
    """An input that a metric needs besides the clips."""

    FACTS = "prompts with known facts"
    PICTURE = "the picture that each clip began with"
    FPS = "frame rates"
    OPENCV = "OpenCV (the extra training)"


@dataclass(frozen=True)
class EvaluatedClip:
    """A clip, and what several metrics see in it, worked out once.

    Attributes:
        frames: uint8 ``[F, 3, H, W]`` with sides of 16 pixels or more.
        fps: the label it was made with, or the rate of its file.
        picture: uint8 ``[3, H, W]``, what an image-to-video model was given.
    """

    frames: npt.NDArray[np.uint8]
    fps: int | None = None
    picture: npt.NDArray[np.uint8] | None = None

    @cached_property
    def verdict(self) -> Verdict:
        """The judge's verdict."""
        return judge(self.frames)

    @cached_property
    def segmentation(self) -> Segmentation:
        """The object and the background of each frame."""
        return segment(self.frames, Thresholds())

    @cached_property
    def pixels(self) -> npt.NDArray[np.uint8]:
        """``[F, H, W, 3]``"""
        return np.ascontiguousarray(self.frames.transpose(0, 2, 3, 1))

    @cached_property
    def luma(self) -> npt.NDArray[np.float64]:
        """``[F, H, W]``, 0 to 255."""
        luma: npt.NDArray[np.float64] = self.pixels @ _LUMA
        return luma

    @cached_property
    def flow(self) -> OpticalFlow | None:
        """Farneback's optical flow; None without OpenCV or with a single frame."""
        return measure_flow(self.luma.round().astype(np.uint8))


class Metric(Protocol):
    """A measurement of clips.

    A file of this package that lists instances in ``METRICS`` adds them to every report.

    Attributes:
        name: of the value in a JSON report.
        title: of the value, for people.
        unit: of the value; "" for none, "share" for 0 to 1.
        better: which values are better, "higher" or "lower"; None where neither is.
        needs: what it cannot do without.
    """

    name: str
    title: str
    unit: str
    better: Literal["higher", "lower"] | None
    needs: tuple[Need, ...]

    def measure(
        self, clips: Sequence[EvaluatedClip], prompts: Sequence[Prompt]
    ) -> list[float | None]:
        """Measure each clip, made for the prompt at the same place; None where it cannot be."""
        ...


def measured(
    metric: Metric, clips: Sequence[EvaluatedClip], prompts: Sequence[Prompt]
) -> list[float | None]:
    """Measure clips; what is no finite number becomes None.

    Raises:
        ValueError: the metric has not as many values as there are clips.
    """
    values = metric.measure(clips, prompts)
    if len(values) != len(clips):
        raise ValueError(f"metric {metric.name}: {len(values)} values of {len(clips)} clips")
    return [None if v is None or not math.isfinite(v) else float(v) for v in values]


def missing_needs(
    metric: Metric, clips: Sequence[EvaluatedClip], prompts: Sequence[Prompt]
) -> list[Need]:
    """Return the needs of a metric that no clip fulfils."""
    there = {
        Need.FACTS: any(prompt.has_facts for prompt in prompts),
        Need.PICTURE: any(clip.picture is not None for clip in clips),
        Need.FPS: any(clip.fps is not None for clip in clips),
        Need.OPENCV: flow_is_available(),
    }
    return [need for need in metric.needs if not there[need]]
