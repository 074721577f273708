"""The judge's accuracy where the truth is known; a model's figures rest on it."""

from __future__ import annotations

import numpy as np
import pytest

from training.data.world import render, sample_scene
from training.evaluation import degrade, evaluate_judge


@pytest.mark.parametrize("psnr", [None, 28.0, 25.0])
def test_the_judge_reads_the_world(psnr):
    report = evaluate_judge(120, seed=7, psnr=psnr)
    shares = {name: rate.share for name, rate in report.rates.items()}
    for aspect in ("colour", "background", "motion", "direction", "found", "steady"):
        assert shares[aspect] >= 0.97, aspect
    assert shares["shape"] >= 0.95
    assert report.median_jerk < 0.5
    assert report.settings["psnr"] == psnr


def test_short_clips_are_read_too():
    rates = evaluate_judge(60, seed=8, frames=8).rates
    assert rates["motion"].share >= 0.97
    assert rates["direction"].share >= 0.97


@pytest.mark.parametrize("psnr", [25.0, 28.0])
def test_degrading_reaches_the_asked_error(psnr):
    rng = np.random.default_rng(3)
    clip = render(sample_scene(rng), range(4)).numpy()
    spoilt = degrade(clip, psnr, rng)
    error = np.mean((spoilt.astype(float) - clip) ** 2)
    # Clipping at black and white takes away some of the noise.
    assert 10 * np.log10(255**2 / error) == pytest.approx(psnr, abs=2.0)
    assert spoilt.shape == clip.shape
    assert not np.array_equal(spoilt[0] - clip[0], spoilt[1] - clip[1])


def test_the_same_seed_gives_the_same_figures():
    one, two = (evaluate_judge(6, seed=1, psnr=28.0) for _ in range(2))
    assert one == two
    assert np.array_equal(one.frames, two.frames)
