"""What people look at while it trains: curves, grids, lines."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from tests.training.line import Line, recipe
from training.loop.board import picture_grid
from training.loop.log import Log
from training.loop.progress import Speed, TrainingProgress
from training.loop.train import run


def curves(folder: Path) -> EventAccumulator:
    events = EventAccumulator(str(folder / "tensorboard"), {"images": 0, "scalars": 0})
    events.Reload()
    return events


def test_tensorboard_has_the_curves_and_the_grids(tmp_path: Path) -> None:
    run(Line(), recipe(books={"samples": 2}), tmp_path)
    events = curves(tmp_path)
    assert {"loss", "lr", "grad_norm", "answer"} <= set(events.Tags()["scalars"])
    log = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    losses = [(event.step, event.value) for event in events.Scalars("loss")]
    assert losses == [(line["step"], pytest.approx(line["loss"])) for line in log]
    grids = events.Images("samples")
    assert [grid.step for grid in grids] == [3, 6]
    assert (grids[0].width, grids[0].height) == (3 * 5, 2 * 4)  # columns and rows of 5 x 4 pixels


def test_curves_of_a_resumed_run_go_back_to_its_checkpoint(tmp_path: Path) -> None:
    books = {"save_every": 2}
    first = Line()
    first.poison_at = 5
    with pytest.raises(RuntimeError):
        run(first, recipe(books=books), tmp_path)
    run(Line(), recipe(books=books), tmp_path)
    assert [event.step for event in curves(tmp_path).Scalars("loss")] == [1, 2, 3, 4, 5, 6]


def test_grids_are_files_too_and_can_be_switched_off(tmp_path: Path) -> None:
    run(Line(), recipe(), tmp_path / "with")
    files = sorted(path.name for path in (tmp_path / "with" / "samples").iterdir())
    assert files == ["step-000003.png", "step-000006.png"]
    with Image.open(tmp_path / "with" / "samples" / files[0]) as grid:
        assert grid.size == (3 * 5, 4 * 4)
    run(Line(), recipe(books={"samples": 0}), tmp_path / "without")
    assert not (tmp_path / "without" / "samples").exists()


def test_a_grid_puts_each_clip_in_a_row() -> None:
    pictures = torch.zeros(2, 3, 3, 4, 5)
    pictures[1, 2, 0] = 2.0  # second clip, third frame, red, and too bright
    grid = np.asarray(picture_grid(pictures))
    assert grid.shape == (3, 8, 15)
    assert grid.sum() == 4 * 5
    assert (grid[0, 4:, 10:] == 1).all()


def test_the_log_averages_what_came_between_two_lines(tmp_path: Path) -> None:
    log = Log(tmp_path, 0)
    log.collect({"loss": 1.0})
    log.collect({"loss": 3.0})
    assert log.write(2, {"extra": 7.0}) == {"step": 2, "loss": 2.0, "extra": 7.0}
    log.collect({"loss": 5.0})
    assert log.write(3, {}) == {"step": 3, "loss": 5.0}


def test_lines_tell_throughput_share_of_peak_and_time_to_go(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with TrainingProgress(0, 100, batch_size=8) as progress:
        progress.speed = Speed(flops=1e9, peak=1e10)
        progress.advance(0.5, 0.2)
        progress.line({"step": 10, "loss": 0.5})
    out = capsys.readouterr().out
    assert "40 samples/s" in out
    assert "50% of peak" in out
    assert "0:00:18 to go" in out


def test_only_the_main_process_shows_anything(capsys: pytest.CaptureFixture[str]) -> None:
    with TrainingProgress(0, 10, batch_size=8, show=False) as progress:
        progress.advance(0.5, 0.2)
        progress.line({"step": 1, "loss": 0.5})
    assert capsys.readouterr() == ("", "")
