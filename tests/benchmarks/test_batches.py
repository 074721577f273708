"""The batch figures are measured on whole batches, and their table says what was measured."""

import json
from pathlib import Path

import pytest

from benchmarks.batches import main
from engine.models import VideoUNet
from tests.engine.conftest import write_tiny_model
from tests.engine.serving.workbench import before


def test_every_batch_size_is_measured_in_every_round(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = write_tiny_model(tmp_path / "tiny", with_image=False)
    output = tmp_path / "figures.json"
    samples: list[int] = []
    with before(VideoUNet, lambda _, inputs: samples.append(len(inputs[0]))):
        arguments = ["--model=tiny", f"--model-dir=tiny={model}", "--device=cpu"]
        arguments += ["--steps=2", "--rounds=2", f"--output={output}", "--batches", "1", "3"]
        assert main(arguments) == 0
    assert samples == [2] + [2, 2, 6, 6] * 2, "one to warm up; guidance doubles"
    result = json.loads(output.read_text())
    assert result["clip"] == "4 frames of 32x32, 2 steps"
    one, three = result["rows"]
    assert (one["batch"], three["batch"], one["gain"]) == (1, 3, 1.0)
    assert three["gain"] == pytest.approx(one["seconds_a_clip"] / three["seconds_a_clip"])
    assert three["clips_a_minute"] == pytest.approx(60 / three["seconds_a_clip"])
    assert "| 3 | " in capsys.readouterr().out
