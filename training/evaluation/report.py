"""The report of an evaluation, as numbers with intervals and as JSON."""

from __future__ import annotations

import json
import statistics
from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from typing import Any

from training.data.world import BACKGROUNDS, CANVAS, COLOURS, MOTIONS, SHAPES
from training.evaluation.bars import STEADY_LIMIT, bars
from training.evaluation.estimates import Rate, Spread
from training.evaluation.figures import ClipFigures
from training.evaluation.fps_curve import FpsCurve, fps_curve, rate_to_dict
from training.evaluation.records import ASPECTS, ClipRecord

FORMAT = 2
"""Version of the JSON layout."""

VALUES: Mapping[str, tuple[str, ...]] = {
    "colour": tuple(COLOURS),
    "background": tuple(BACKGROUNDS),
    "shape": SHAPES,
    "motion": MOTIONS,
}
"""What each aspect can be, in the order of the tables."""

FIGURES = tuple(f.name for f in fields(ClipFigures))

Setting = str | int | float | bool | None


@dataclass(frozen=True, slots=True)
class JudgeCheck:
    """The judge's rates of agreement on clips whose facts are known."""

    name: str
    rates: Mapping[str, Rate]


@dataclass(frozen=True, slots=True)
class Confusion:
    """A confusion matrix of an aspect: ``counts[asked][seen]``; "none" where no name fits."""

    aspect: str
    columns: tuple[str, ...]
    counts: Mapping[str, Mapping[str, int]]

    def rate(self, asked: str) -> Rate:
        """Return the rate at which ``asked`` was also seen."""
        return Rate(self.counts[asked].get(asked, 0), sum(self.counts[asked].values()))


@dataclass(frozen=True, slots=True)
class Report:
    """An evaluation: its settings, every clip's verdict, and what they add up to.

    ``curve_clips`` are clips of the same prompts and noise at every fps label. ``reference``
    holds the medians of the figures over drawn clips of the same scenes: what a perfect model
    would have. ``judge_checks`` say how far the judge can be trusted.
    """

    settings: Mapping[str, Setting]
    clips: tuple[ClipRecord, ...]
    curve_clips: tuple[ClipRecord, ...] = ()
    reference: Mapping[str, float | None] = field(default_factory=dict)
    judge_checks: tuple[JudgeCheck, ...] = ()

    @property
    def rates(self) -> dict[str, Rate]:
        """Agreement per aspect (over the clips whose prompt demands it), and over all clips.

        ``obeyed``: steady and everything as demanded; ``found``: shows one object; ``steady``:
        found throughout, without jitter, flicker or pulsing. ``steady_colour`` and
        ``steady_size``: the object changes by less than :data:`STEADY_LIMIT`.
        """
        clips = self.clips
        result = {aspect: Rate.of(clip.agrees(aspect) for clip in clips) for aspect in ASPECTS}
        result["obeyed"] = Rate.of(clip.obeys for clip in clips)
        result["found"] = Rate.of(clip.verdict.found for clip in clips)
        result["steady"] = Rate.of(clip.verdict.steady for clip in clips)
        result["steady_colour"] = Rate.of(_below(clip.colour_change) for clip in clips)
        result["steady_size"] = Rate.of(_below(clip.size_change) for clip in clips)
        return result

    @property
    def median_jerk(self) -> float | None:
        """Median over the clips that have a path, px; ``None`` if none has."""
        jerks = [c.verdict.jerk for c in self.clips if c.verdict.jerk is not None]
        return statistics.median(jerks) if jerks else None

    @property
    def misfit(self) -> Spread | None:
        """The area in which objects differ from the ideal shape of their name, over their own area.

        The judge gives a rough shape the name of the nearest ideal one; this says how rough.
        """
        return Spread.of(clip.verdict.misfit for clip in self.clips)

    @property
    def spreads(self) -> dict[str, Spread | None]:
        """The figures of :class:`ClipFigures` over the clips; size where it should not change."""
        measured = [clip.figures for clip in self.clips if clip.figures is not None]
        result = {name: Spread.of(getattr(one, name) for one in measured) for name in FIGURES}
        result["size_change"] = Spread.of(clip.size_change for clip in self.clips)
        return result

    @property
    def first_frame_psnr(self) -> Spread | None:
        """First frames against the pictures given, dB; ``None`` for text-to-video."""
        return Spread.of(clip.first_frame_psnr for clip in self.clips)

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

    def to_json(self) -> str:
        """Write settings, totals and clips as strict JSON."""
        curve = self.curve
        document = {
            "format": FORMAT,
            "settings": dict(self.settings),
            "bars": [bar.to_dict() for bar in bars(self)],
            "rates": {name: rate_to_dict(rate) for name, rate in self.rates.items()},
            "median_jerk": self.median_jerk,
            "misfit": _optional(self.misfit),
            "first_frame_psnr": _optional(self.first_frame_psnr),
            "fps_curve": curve.to_dict() if curve else None,
            "figures": {name: _optional(spread) for name, spread in self.spreads.items()},
            "reference": dict(self.reference),
            "confusion": {aspect: self.confusion(aspect).counts for aspect in VALUES},
            "judge": [
                {"name": check.name, "rates": {n: rate_to_dict(r) for n, r in check.rates.items()}}
                for check in self.judge_checks
            ],
            "clips": [clip.to_dict() for clip in self.clips],
            "curve_clips": [clip.to_dict() for clip in self.curve_clips],
        }
        return json.dumps(document, indent=1, allow_nan=False)

    @classmethod
    def from_json(cls, text: str) -> Report:
        """Read what :meth:`to_json` wrote; the totals are computed anew from the clips.

        Raises:
            ValueError: If the text is not such a report; the message says where.
        """
        document = json.loads(text)
        if not isinstance(document, dict) or document.get("format") != FORMAT:
            raise ValueError(f"not an evaluation report of format {FORMAT}")
        try:
            return cls(
                settings=dict(document["settings"]),
                clips=tuple(ClipRecord.from_dict(entry) for entry in document["clips"]),
                curve_clips=tuple(ClipRecord.from_dict(e) for e in document["curve_clips"]),
                reference=dict(document["reference"]),
                judge_checks=tuple(_judge_check(entry) for entry in document["judge"]),
            )
        except (KeyError, TypeError, ValueError) as error:
            raise ValueError(f"broken evaluation report: {error}") from error


def _judge_check(entry: Mapping[str, Any]) -> JudgeCheck:
    rates = {name: Rate(rate["hits"], rate["total"]) for name, rate in entry["rates"].items()}
    return JudgeCheck(entry["name"], rates)


def _below(change: float | None) -> bool | None:
    return None if change is None else change < STEADY_LIMIT


def _optional(spread: Spread | None) -> dict[str, Any] | None:
    return asdict(spread) if spread else None
