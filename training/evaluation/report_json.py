"""Reports as JSON, and back."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from training.evaluation.fps_curve import rate_to_dict
from training.evaluation.intervals import Distribution, Proportion
from training.evaluation.metrics import find_metrics
from training.evaluation.records import ClipRecord
from training.evaluation.report import VALUES, JudgeCheck, Report
from training.evaluation.targets import targets

FORMAT = 2
"""Version of the JSON layout."""


def to_json(report: Report) -> str:
    """Write settings, totals and clips as strict JSON."""
    curve = report.curve
    document: dict[str, Any] = {
        "format": FORMAT,
        "settings": dict(report.settings),
        "bars": [target.to_dict() for target in targets(report)],
        "rates": {name: rate_to_dict(rate) for name, rate in report.rates.items()},
        "median_jerk": report.median_jerk,
        "misfit": _optional(report.misfit),
        "first_frame_psnr": _optional(report.first_frame_psnr),
        "fps_curve": curve.to_dict() if curve else None,
        "figures": {name: _optional(spread) for name, spread in report.spreads.items()},
        "reference": dict(report.reference),
        "confusion": {aspect: report.confusion(aspect).counts for aspect in VALUES},
        "judge": [
            {"name": check.name, "rates": {n: rate_to_dict(r) for n, r in check.rates.items()}}
            for check in report.judge_checks
        ],
        "clips": [clip.to_dict() for clip in report.clips],
        "curve_clips": [clip.to_dict() for clip in report.curve_clips],
    }
    # Only where there are any: a model's report is the same without them.
    if report.metrics:
        document["metrics"] = _metrics(report)
    if report.unmeasured:
        document["unmeasured"] = dict(report.unmeasured)
    if report.skipped:
        document["skipped"] = list(report.skipped)
    return json.dumps(document, indent=1, allow_nan=False)


def from_json(text: str) -> Report:
    """Read what :func:`to_json` wrote; the totals are computed anew from the clips.

    Raises:
        ValueError: If the text is not such a report; the message says where.
    """
    document = json.loads(text)
    if not isinstance(document, dict) or document.get("format") != FORMAT:
        raise ValueError(f"not an evaluation report of format {FORMAT}")
    try:
        return Report(
            settings=dict(document["settings"]),
            clips=tuple(ClipRecord.from_dict(entry) for entry in document["clips"]),
            curve_clips=tuple(ClipRecord.from_dict(e) for e in document["curve_clips"]),
            reference=dict(document["reference"]),
            judge_checks=tuple(_judge_check(entry) for entry in document["judge"]),
            unmeasured=dict(document.get("unmeasured", {})),
            skipped=tuple(document.get("skipped", ())),
        )
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(f"broken evaluation report: {error}") from error


def _judge_check(entry: Mapping[str, Any]) -> JudgeCheck:
    rates = {name: Proportion(rate["hits"], rate["total"]) for name, rate in entry["rates"].items()}
    return JudgeCheck(entry["name"], rates)


def _metrics(report: Report) -> dict[str, Any]:
    known = {metric.name: metric for metric in find_metrics()}
    return {
        name: {
            "title": known[name].title if name in known else name,
            "unit": known[name].unit if name in known else "",
            "better": known[name].better if name in known else None,
            "values": _optional(values),
        }
        for name, values in report.metrics.items()
    }


def _optional(spread: Distribution | None) -> dict[str, Any] | None:
    return asdict(spread) if spread else None
