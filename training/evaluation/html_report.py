"""The report for people: one HTML file that needs nothing but a browser."""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from jinja2 import Environment, PackageLoader, StrictUndefined
from PIL import Image

from training.evaluation.chart import draw_curve
from training.evaluation.intervals import Distribution, Proportion
from training.evaluation.metrics import find_metrics
from training.evaluation.metrics.agreement import ASPECTS
from training.evaluation.metrics.optical_flow import flow_is_available
from training.evaluation.records import ClipRecord
from training.evaluation.report import VALUES, Report
from training.evaluation.targets import FIRST_FRAME_PSNR, PROMPTS, Target, targets

CLIPS = 48
"""Most clips that a page shows."""

RATES: Mapping[str, str] = {
    "colour": "colour as asked",
    "background": "background as asked",
    "shape": "shape as asked",
    "motion": "motion as asked",
    "direction": "direction, where one is asked",
    "obeyed": "everything as asked, and steady",
    "found": "one object found",
    "steady": "steady: no jitter, flicker or pulsing",
    "steady_colour": "colour of the object changes by less than 10 %",
    "steady_size": "its size changes by less than 10 %, where it should not",
}
FIGURES: Mapping[str, tuple[str, str, float]] = {  # name: (title, unit, factor)
    "colour_change": ("change of the object's colour", "%", 100),
    "size_change": ("change of its size (area), where it should not", "%", 100),
    "flicker": ("flicker of the background", "levels of 255", 1),
    "flow": ("mean flow (Farneback)", "px a frame", 1),
    "warped_difference": ("difference after undoing that flow", "levels of 255", 1),
    "sharpness": ("sharpness (variance of the Laplacian)", "", 1),
    "colourfulness": ("colourfulness (Hasler and Suesstrunk)", "", 1),
}


@dataclass(frozen=True, slots=True)
class ClipCard:
    """A clip of the grid: animation and first frame as data URIs, and a line for each aspect."""

    record: ClipRecord
    moving: str
    still: str
    aspects: tuple[tuple[str, str, str, bool | None], ...]  # aspect, asked, seen, agrees


def to_html(report: Report, *, clips: int = CLIPS) -> str:
    """Write a report as HTML.

    The page shows at most ``clips`` of the clips that have frames: those that fail first, and
    among them in the order of the prompts. It loads nothing, runs nothing, and holds every figure
    of the JSON's totals.
    """
    environment = Environment(
        loader=PackageLoader("training.evaluation", "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(
        percent=_percent, interval=_percent_interval, number=_number, target_value=_target_value
    )
    return environment.get_template("report.html.j2").render(_context(report, clips))


def _context(report: Report, limit: int) -> dict[str, Any]:
    held = targets(report)
    curve = report.curve
    shown = _shown(report, limit)
    return {
        "settings": report.settings,
        "targets": held,
        # Clips made elsewhere may be measured by nothing that the targets are of.
        "targets_apply": not report.unmeasured or any(target.value is not None for target in held),
        "targets_passed": sum(target.passed is True for target in held),
        "prompts_for_targets": PROMPTS,
        "rates": [(RATES[name], rate) for name, rate in report.rates.items()],
        "confusions": [report.confusion(aspect) for aspect in VALUES],
        "figures": _figure_rows(report),
        "metrics": _metric_rows(report),
        "unmeasured": report.unmeasured,
        "skipped": report.skipped,
        "flow_is_missing": not flow_is_available(),
        "jerk": report.median_jerk,
        "misfit": report.misfit.scaled(100) if report.misfit else None,
        "psnr": report.first_frame_psnr,
        "psnr_reached": Proportion.of(
            None if clip.first_frame_psnr is None else clip.first_frame_psnr >= FIRST_FRAME_PSNR
            for clip in report.clips
        ),
        "curve": curve,
        "chart": draw_curve(curve) if curve else None,
        "judge_checks": report.judge_checks,
        "shown": shown,
        "clips_in_all": len(report.clips),
        "failures": sum(not clip.obeys for clip in report.clips),
    }


def _figure_rows(report: Report) -> list[tuple[str, str, Distribution | None, float | None]]:
    """Title, unit, spread and drawn clips' median, in the unit of the row."""
    rows = []
    for name, spread in report.spreads.items():
        title, unit, factor = FIGURES[name]
        drawn = report.reference.get(name)
        ours = spread.scaled(factor) if spread else None
        rows.append((title, unit, ours, None if drawn is None else factor * drawn))
    return rows


def _metric_rows(report: Report) -> list[tuple[str, str, str, Distribution | None]]:
    """Title, unit, which values are better, and spread of the metrics beyond the report's own."""
    known = {metric.name: metric for metric in find_metrics()}
    rows: list[tuple[str, str, str, Distribution | None]] = []
    for name, spread in report.metrics.items():
        metric = known.get(name)
        title, unit = (metric.title, metric.unit) if metric else (name, "")
        better: str = (metric.better if metric else None) or ""
        rows.append((title, unit, better, spread))
    return rows


def _shown(report: Report, limit: int) -> list[ClipCard]:
    with_frames = [clip for clip in report.clips if clip.frames is not None]
    chosen = sorted(with_frames, key=lambda clip: clip.obeys)[:limit]
    return [_shown_clip(clip, clip.frames) for clip in chosen if clip.frames is not None]


def _shown_clip(record: ClipRecord, frames: npt.NDArray[np.uint8]) -> ClipCard:
    aspects = tuple(
        (
            aspect,
            getattr(record.prompt, aspect) or "",
            getattr(record.verdict, aspect) or "none",
            record.agrees(aspect),
        )
        for aspect in ASPECTS
        if aspect != "direction"
    )
    return ClipCard(record, _webp(frames, record.fps or 8), _webp(frames[:1], 1), aspects)


def _webp(frames: npt.NDArray[np.uint8], fps: int) -> str:
    """Frames ``[F, 3, H, W]`` as a data URI; more than one make an endless animation."""
    pictures = [Image.fromarray(np.ascontiguousarray(f.transpose(1, 2, 0))) for f in frames]
    buffer = io.BytesIO()
    pictures[0].save(
        buffer, "WEBP", save_all=len(pictures) > 1, append_images=pictures[1:],
        duration=round(1000 / fps), loop=0, quality=88, method=4,
    )  # fmt: skip
    return f"data:image/webp;base64,{base64.b64encode(buffer.getvalue()).decode('ascii')}"


def _percent(share: float | None) -> str:
    return "–" if share is None else f"{100 * share:.1f} %"


def _percent_interval(interval: tuple[float, float]) -> str:
    return f"{100 * interval[0]:.1f}–{100 * interval[1]:.1f} %"


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:.3g}" if abs(value) < 100 else f"{value:.0f}"


def _target_value(target: Target, which: str) -> str:
    """The ``value``, ``interval`` or ``limit`` of a target, in its unit."""
    if which == "limit":
        limit = (
            f"{100 * target.limit:g} %"
            if target.unit == "share"
            else f"{target.limit:g} {target.unit}"
        )
        return f"{'at least' if target.at_least else 'below'} {limit}"
    if target.value is None or target.interval is None:
        return "–"
    if target.unit == "share":
        return _percent(target.value) if which == "value" else _percent_interval(target.interval)
    low, high = target.interval
    return (
        f"{target.value:.1f} {target.unit}"
        if which == "value"
        else f"{low:.1f}–{high:.1f} {target.unit}"
    )
