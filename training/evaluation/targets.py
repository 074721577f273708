"""Targets that the shipped demo models are held to."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal

from training.evaluation.intervals import Distribution, Proportion
from training.evaluation.report import STEADY_LIMIT, Report

PROMPTS = 200
"""The targets are meant for at least so many held-out prompts."""

ALIGNMENT: Mapping[str, float] = {"colour": 0.95, "shape": 0.90, "motion": 0.90}
MOTION_FROM_PICTURE = 0.80
MONOTONE = 0.90
FIRST_FRAME_PSNR = 20.0

Unit = Literal["share", "dB"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """A limit and what was measured; ``value`` is ``None`` where nothing could be.

    The value itself is held to the limit; how sure it is, the interval says.
    """

    name: str
    title: str
    unit: Unit
    limit: float
    at_least: bool
    """True if the value must reach the limit; else it must stay below."""
    value: float | None
    interval: tuple[float, float] | None
    count: int

    @property
    def passed(self) -> bool | None:
        """True if the target is reached; ``None`` if nothing was measured."""
        if self.value is None:
            return None
        return self.value >= self.limit if self.at_least else self.value < self.limit

    def to_dict(self) -> dict[str, Any]:
        """For a JSON report."""
        return {**asdict(self), "passed": self.passed}


def targets(report: Report) -> tuple[Target, ...]:
    """Hold a report to the targets of its task, which its clips tell: pictures have a PSNR."""
    rates, spreads, curve = report.rates, report.spreads, report.curve
    psnr = report.first_frame_psnr
    if psnr is not None:
        result = [
            Target(
                name="first_frame_psnr",
                title="First frame against the picture, mean",
                unit="dB",
                limit=FIRST_FRAME_PSNR,
                at_least=True,
                value=psnr.mean,
                interval=psnr.mean_interval,
                count=psnr.count,
            ),
            _share("motion", "Motion as asked", rates["motion"], MOTION_FROM_PICTURE),
        ]
    else:
        result = [
            _share(aspect, f"{aspect.capitalize()} as asked", rates[aspect], limit)
            for aspect, limit in ALIGNMENT.items()
        ]
    monotone = curve.monotone if curve else Proportion(0, 0)
    result.append(_share("fps_monotone", "Slower at every higher fps label", monotone, MONOTONE))
    result.append(_change("colour_change", "Change of colour, median", spreads["colour_change"]))
    result.append(_change("size_change", "Change of size, median", spreads["size_change"]))
    return tuple(result)


def _share(name: str, title: str, rate: Proportion, limit: float) -> Target:
    return Target(
        name=name,
        title=title,
        unit="share",
        limit=limit,
        at_least=True,
        value=rate.share,
        interval=rate.interval if rate.total else None,
        count=rate.total,
    )


def _change(name: str, title: str, spread: Distribution | None) -> Target:
    return Target(
        name=name,
        title=title,
        unit="share",
        limit=STEADY_LIMIT,
        at_least=False,
        value=spread.median if spread else None,
        interval=spread.median_interval if spread else None,
        count=spread.count if spread else 0,
    )
