"""A metric is added by one file in `training/evaluation/metrics`."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from tests.extending.example import write_example
from tests.training.data.sets import write_mp4
from training.cli import main
from training.evaluation import metrics

# [example]
"""training/evaluation/metrics/brightness.py: how bright a clip is."""

from training.evaluation.metrics.metric import EvaluatedClip
from training.evaluation.metrics.per_clip import PerClipMetric
from training.evaluation.prompts import Prompt


class Brightness(PerClipMetric):
    """Mean luma of all pixels."""

    name = "brightness"
    title = "mean brightness"
    unit = "levels of 255"
    better = None  # neither is better
    needs = ()  # or Need.FACTS, Need.PICTURE, ...

    def value(self, clip: EvaluatedClip, prompt: Prompt) -> float | None:
        return float(clip.luma.mean())


METRICS = (Brightness(),)
# [/example]


def test_a_metric_in_one_file_is_in_the_report(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_example(Path(__file__), tmp_path / "package" / "brightness.py")
    monkeypatch.setattr(metrics, "__path__", [*metrics.__path__, str(tmp_path / "package")])
    write_mp4(tmp_path / "clips" / "1.mp4", np.full((8, 64, 64, 3), 128, np.uint8))
    arguments = ["--clips", str(tmp_path / "clips"), "--output", str(tmp_path / "report")]
    assert main(["evaluate", *arguments]) == 0
    report = json.loads((tmp_path / "report" / "report.json").read_text())
    assert report["metrics"]["brightness"]["values"]["mean"] == pytest.approx(128, abs=2)
    assert "mean brightness" in (tmp_path / "report" / "report.html").read_text()
