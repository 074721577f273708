"""The report of an evaluation, as numbers with intervals."""

from __future__ import annotations

import statistics
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from training.data.synthetic import BACKGROUNDS, CANVAS, COLOURS, MOTIONS, SHAPES
from training.evaluation.clip_metrics import NAMES
from training.evaluation.fps_curve import FpsCurve, fps_curve
from training.evaluation.intervals import Distribution, Proportion
from training.evaluation.metrics.agreement import ASPECTS
from training.evaluation.records import ClipRecord

VALUES: Mapping[str, tuple[str, ...]] = {
    "colour": tuple(COLOURS),
    "background": tuple(BACKGROUNDS),
    "shape": SHAPES,
    "motion": MOTIONS,
}
"""The values of each aspect, in the order of the tables."""

STEADY_LIMIT = 0.10
"""Colour and size may change by less than this share where nothing should change."""

Setting = str | int | float | bool | None


@dataclass(frozen=True, slots=True)
class JudgeCheck:
    """The judge's rates of agreement on clips whose facts are known."""

    name: str
    rates: Mapping[str, Proportion]


@dataclass(frozen=True, slots=True)
class Confusion:
    """A confusion matrix of an aspect: ``counts[asked][seen]``; "none" where no name fits."""

    aspect: str
    columns: tuple[str, ...]
    counts: Mapping[str, Mapping[str, int]]

    def rate(self, asked: str) -> Proportion:
        """Return the rate at which ``asked`` was also seen."""
        return Proportion(self.counts[asked].get(asked, 0), sum(self.counts[asked].values()))


@dataclass(frozen=True, slots=True)
class Report:
    """An evaluation: its settings, every clip's verdict, and what they add up to.

    ``curve_clips`` are clips of the same prompts and noise at every fps label. ``reference``
    holds the medians of the figures over drawn clips of the same scenes: what a perfect model
    would have. ``judge_checks`` say how far the judge can be trusted. ``unmeasured`` says of
    metrics why no clip has a value, ``skipped`` of files why they are not among the clips.
    """

    settings: Mapping[str, Setting]
    clips: tuple[ClipRecord, ...]
    curve_clips: tuple[ClipRecord, ...] = ()
    reference: Mapping[str, float | None] = field(default_factory=dict)
    judge_checks: tuple[JudgeCheck, ...] = ()
    unmeasured: Mapping[str, str] = field(default_factory=dict)
    skipped: tuple[str, ...] = ()

    @property
    def rates(self) -> dict[str, Proportion]:
        """Agreement per aspect (over the clips whose prompt demands it), and over all clips.

        ``obeyed``: steady and everything as demanded; ``found``: shows one object; ``steady``:
        found throughout, without jitter, flicker or pulsing. ``steady_colour`` and
        ``steady_size``: the object changes by less than :data:`STEADY_LIMIT`.
        """
        clips = self.clips
        result = {
            aspect: Proportion.of(clip.agrees(aspect) for clip in clips) for aspect in ASPECTS
        }
        result["obeyed"] = Proportion.of(clip.obeys for clip in clips)
        result["found"] = Proportion.of(clip.verdict.found for clip in clips)
        result["steady"] = Proportion.of(clip.verdict.steady for clip in clips)
        result["steady_colour"] = Proportion.of(_below(clip.colour_change) for clip in clips)
        result["steady_size"] = Proportion.of(_below(clip.size_change) for clip in clips)
        return result

    @property
    def median_jerk(self) -> float | None:
        """Median over the clips that have a path, px; ``None`` if none has."""
        jerks = [c.verdict.jerk for c in self.clips if c.verdict.jerk is not None]
        return statistics.median(jerks) if jerks else None

    @property
    def misfit(self) -> Distribution | None:
        """The area in which objects differ from the ideal shape of their name, over their own area.

        The judge gives a rough shape the name of the nearest ideal one; this says how rough.
        """
        return Distribution.of(clip.verdict.misfit for clip in self.clips)

    @property
    def spreads(self) -> dict[str, Distribution | None]:
        """The figures of :class:`ClipMetrics` over the clips; size where it should not change."""
        measured = [clip.figures for clip in self.clips if clip.figures is not None]
        result = {name: Distribution.of(getattr(one, name) for one in measured) for name in NAMES}
        result["size_change"] = Distribution.of(clip.size_change for clip in self.clips)
        return result

    @property
    def metrics(self) -> dict[str, Distribution | None]:
        """The clips' values of metrics that are no part of :class:`ClipMetrics`, by name."""
        names = dict.fromkeys(name for clip in self.clips for name in clip.metrics)
        return {
            name: Distribution.of(clip.metrics.get(name) for clip in self.clips) for name in names
        }

    @property
    def first_frame_psnr(self) -> Distribution | None:
        """First frames against the pictures given, dB; ``None`` for text-to-video."""
        return Distribution.of(clip.first_frame_psnr for clip in self.clips)

    @property
    def curve(self) -> FpsCurve | None:
        """Speed by fps label, where that was measured."""
        sides = [self.settings.get("width"), self.settings.get("height")]
        return fps_curve(self.curve_clips, min((s for s in sides if isinstance(s, int)),
                                               default=CANVAS))  # fmt: skip

    def with_settings(self, **settings: Setting) -> Report:
        """The same report with more settings."""
        return replace(self, settings={**self.settings, **settings})

    def confusion(self, aspect: str) -> Confusion:
        """Seen by asked, for an aspect of :data:`VALUES`.

        Raises:
            KeyError: If there is no such aspect.
        """
        names = VALUES[aspect]
        counts: dict[str, Counter[str]] = {}
        for name in names:
            seen = [
                getattr(clip.verdict, aspect) or "none"
                for clip in self.clips
                if getattr(clip.prompt, aspect) == name
            ]
            if seen:
                counts[name] = Counter(seen)
        return Confusion(aspect, (*names, "none"), counts)

    def summary(self) -> str:
        """A few lines for a terminal."""
        lines = [f"{name:<13} {rate}" for name, rate in self.rates.items()]
        jerk = self.median_jerk
        lines.append(f"{'jerk':<13} {'none' if jerk is None else f'{jerk:.2f} px (median)'}")
        if (kept := self.first_frame_psnr) is not None:
            lines.append(f"{'picture':<13} {kept.mean:.1f} dB (first frame, mean)")
        if (curve := self.curve) is not None:
            lines.append(f"{'fps control':<13} {curve.monotone} slower at every higher label")
        return "\n".join(lines)


def _below(change: float | None) -> bool | None:
    return None if change is None else change < STEADY_LIMIT
