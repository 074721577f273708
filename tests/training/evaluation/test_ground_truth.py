"""The judge's accuracy where the truth is known; a model's figures rest on it."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
import torch
from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL

from engine.checkpoints import Catalog
from training.data.synthetic import FPS_LABELS, MOTIONS, held_out, render, sample_scene
from training.evaluation.ground_truth import (
    check_judge,
    degrade,
    draw_every_motion,
    evaluate_judge,
    reference_figures,
)
from training.evaluation.prompts import draw_cases


@pytest.mark.parametrize("psnr", [None, 28.0, 25.0])
def test_the_judge_reads_the_world(psnr):
    report = evaluate_judge(120, seed=7, psnr=psnr)
    shares = {name: rate.share for name, rate in report.rates.items()}
    for aspect in ("colour", "background", "motion", "direction", "found", "steady"):
        assert shares[aspect] >= 0.97, aspect
    assert shares["shape"] >= 0.95
    assert shares["steady_colour"] == shares["steady_size"] == 1
    assert report.median_jerk < 0.5
    assert report.settings["psnr"] == psnr


def test_short_clips_are_read_too():
    rates = evaluate_judge(60, seed=8, frames=8).rates
    assert rates["motion"].share >= 0.97
    assert rates["direction"].share >= 0.97


def test_every_motion_is_drawn_at_every_label_of_the_split():
    scenes = draw_every_motion(2, 0, "held-out")
    assert Counter((s.motion, s.fps) for s in scenes) == {
        (motion, fps): 2 for motion in MOTIONS for fps in FPS_LABELS
    }
    assert all(held_out(scene) for scene in scenes)


def test_slow_motions_are_told_from_standing_still_even_after_the_autoencoder():
    # At 24 fps sixteen frames hold 0.63 s: a turn of 56 degrees, a growth by a third.
    card = Catalog().get("demo-t2v")
    vae = AutoencoderKL.from_pretrained(card.path / "vae", torch_dtype=torch.float32).eval()
    scenes = [s for s in draw_every_motion(1, 5, "held-out") if s.fps == 24]
    drawn, decoded = check_judge(scenes, None, 16), check_judge(scenes, vae, 16)
    for check in (drawn, decoded):
        assert {name: rate.share for name, rate in check.rates.items()} == dict.fromkeys(
            ("colour", "background", "shape", "motion", "steady"), 1
        )
        assert check.rates["motion"].total == len(MOTIONS)
    assert "autoencoder" in decoded.name
    assert "autoencoder" not in drawn.name


def test_an_autoencoder_that_loses_everything_is_seen_in_the_check():
    torch.manual_seed(0)
    vae = AutoencoderKL(block_out_channels=(8,), norm_num_groups=4).eval()
    check = check_judge(draw_every_motion(1, 5, "all")[:4], vae, 4)
    assert check.rates["colour"].hits < 4


def test_drawn_clips_are_the_reference_of_figures():
    cases = draw_cases(12, 1, split="held-out")
    reference = reference_figures(cases, 8, 16)
    assert reference["flicker"] == 0
    assert reference["size_change"] < 0.02  # clips that shall grow do not count
    assert reference["colour_change"] == 0
    assert reference["sharpness"] > 100


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
    assert all(
        np.array_equal(a.frames, b.frames) for a, b in zip(one.clips, two.clips, strict=True)
    )
