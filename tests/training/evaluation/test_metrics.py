"""Figures of clips that need no prompt."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from training.data.synthetic import SyntheticScene, render
from training.evaluation.clip_metrics import measure_clip
from training.evaluation.metrics import optical_flow as flow

PLAIN = SyntheticScene(
    shape="circle", colour="red", background="grey", motion="still", fps=8, x=32.0, y=32.0,
    radius=12.0, angle=0.0,
)  # fmt: skip


def drawn(frames=16, **changes):
    return render(replace(PLAIN, **changes), range(frames)).numpy()


def along(**curves):
    rows = zip(*curves.values(), strict=True)
    return np.concatenate([drawn(1, **dict(zip(curves, row, strict=True))) for row in rows])


def test_nothing_changes_in_a_still_clip():
    figures = measure_clip(drawn())
    assert figures.colour_change == figures.flicker == 0
    assert figures.size_change == pytest.approx(0, abs=1e-6)
    assert figures.flow in (None, pytest.approx(0, abs=1e-3))


@pytest.mark.parametrize("motion", ["left", "up", "spin"])
def test_motion_changes_neither_colour_nor_size_nor_background(motion):
    figures = measure_clip(drawn(motion=motion, shape="triangle"))
    assert figures.colour_change < 0.01
    assert figures.size_change < 0.02
    assert figures.flicker == 0


def test_size_change_is_that_of_the_area():
    radii = [12.0, 13.0] * 8
    areas = np.square(radii)
    expected = areas.std() / areas.mean()
    assert measure_clip(along(radius=radii)).size_change == pytest.approx(expected, rel=0.02)


def test_slow_growth_counts_although_it_is_smooth():
    assert measure_clip(drawn(motion="grow", radius=10.0)).size_change > 0.2


def test_colour_change_is_the_distance_from_the_mean_colour():
    clip = along(colour=["red", "orange"] * 8)
    red, orange = np.array((225, 35, 40)), np.array((245, 135, 30))
    expected = np.linalg.norm(red - orange) / 2 / np.linalg.norm((red + orange) / 2)
    assert measure_clip(clip).colour_change == pytest.approx(expected, rel=0.02)


def test_flicker_is_that_of_the_background_alone():
    clip = drawn().astype(int)
    clip[::2] += 6  # object and background
    assert measure_clip(clip.astype(np.uint8)).flicker == pytest.approx(6, abs=0.01)
    assert measure_clip(along(colour=["red", "orange"] * 8)).flicker < 0.01


def test_blur_is_less_sharp_and_grey_less_colourful():
    clip = drawn()
    soft = (clip.astype(float) + np.roll(clip, 1, -1) + np.roll(clip, 1, -2)) / 3
    assert measure_clip(soft.astype(np.uint8)).sharpness < measure_clip(clip).sharpness
    grey = np.repeat(clip.mean(axis=1, keepdims=True), 3, axis=1).astype(np.uint8)
    assert measure_clip(grey).colourfulness == pytest.approx(0, abs=1e-6)
    assert measure_clip(clip).colourfulness > 10


def test_colourfulness_of_one_colour_is_its_mean_alone():
    red = np.zeros((2, 3, 64, 64), np.uint8)
    red[:, 0] = 200
    # Hasler and Suesstrunk: no deviation, means 200 and 100 along the two opponent axes.
    assert measure_clip(red).colourfulness == pytest.approx(0.3 * np.hypot(200, 100))


def test_an_empty_clip_has_no_object_to_measure():
    figures = measure_clip(np.full((16, 3, 64, 64), 128, np.uint8))
    assert figures.colour_change is None
    assert figures.size_change is None
    assert figures.flicker == 0


def test_a_single_frame():
    figures = measure_clip(drawn(1))
    assert (figures.colour_change, figures.size_change, figures.flow) == (None, None, None)
    assert figures.flicker == 0


def textured(shift):
    rng = np.random.default_rng(0)
    coarse = np.kron(rng.integers(60, 200, (24, 24)), np.ones((4, 4)))
    kernel = np.ones(5) / 5
    smooth = np.apply_along_axis(lambda row: np.convolve(row, kernel, "same"), 1, coarse)
    smooth = np.apply_along_axis(lambda row: np.convolve(row, kernel, "same"), 0, smooth)
    grey = [smooth[16:80, 16 - shift * i + 8 : 80 - shift * i + 8] for i in range(4)]
    return np.stack(grey).round().astype(np.uint8)


def test_flow_is_the_speed_of_a_moving_picture():
    pytest.importorskip("cv2")
    for shift in (1, 2):
        frames = textured(shift)
        measured = flow.measure_flow(frames)
        assert measured.speed == pytest.approx(shift, rel=0.15)
        # Moved back, the frames agree far better than they do in place.
        assert (
            measured.warped_difference
            < np.abs(np.diff(textured(shift).astype(int), axis=0)).mean() / 2
        )


def test_what_no_flow_explains_is_left_over():
    pytest.importorskip("cv2")
    noise = np.random.default_rng(1).integers(0, 255, (4, 64, 64)).astype(np.uint8)
    assert flow.measure_flow(noise).warped_difference > 20


def test_without_opencv_there_is_no_flow(monkeypatch):
    monkeypatch.setattr(flow, "find_spec", lambda name: None)
    figures = measure_clip(drawn(motion="left"))
    assert figures.flow is None
    assert figures.warped_difference is None
    assert figures.sharpness > 0
