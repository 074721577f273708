"""Colours, backgrounds and shapes."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from training.data.synthetic import BACKGROUNDS, COLOURS, SHAPES, render
from training.judge import judge
from training.judge.colour import srgb_to_lab

GRID = np.meshgrid(np.arange(64) + 0.5, np.arange(64) + 0.5)
RIGHT, DOWN = GRID[0] - 32, GRID[1] - 32


@pytest.mark.parametrize(
    ("rgb", "lab"),
    [
        ((255, 255, 255), (100.0, 0.0, 0.0)),
        ((255, 0, 0), (53.24, 80.09, 67.20)),
        ((0, 0, 255), (32.30, 79.19, -107.86)),
        ((10, 10, 10), (2.74, 0.0, 0.0)),
    ],
)
def test_lab_matches_published_values(rgb, lab):
    assert srgb_to_lab(np.array(rgb, dtype=np.uint8)) == pytest.approx(lab, abs=0.02)


@pytest.mark.parametrize("colour", COLOURS)
@pytest.mark.parametrize("background", BACKGROUNDS)
def test_every_colour_on_every_background(plain, colour, background):
    scene = replace(plain, colour=colour, background=background)
    verdict = judge(render(scene, range(4)))
    assert (verdict.colour, verdict.background) == (colour, background)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("angle", [0.0, 0.3, 0.8, 1.5])
@pytest.mark.parametrize("radius", [7.0, 11.0, 19.0])
def test_shapes_at_any_rotation_and_size(plain, shape, angle, radius):
    scene = replace(plain, shape=shape, angle=angle, radius=radius, x=30.4, y=33.3)
    assert judge(render(scene, [0, 1])).shape == shape


@pytest.mark.parametrize("shape", SHAPES)
def test_a_shape_is_named_from_the_frames_that_show_it_whole(plain, along, shape):
    clip = along(replace(plain, shape=shape, radius=12.0), x=[44.0] * 3 + [60.0] * 9)
    verdict = judge(clip)
    assert verdict.shape == shape
    assert verdict.misfit < 0.05


@pytest.mark.parametrize(
    "mask",
    [
        pytest.param((RIGHT / 16) ** 2 + (DOWN / 8) ** 2 < 1, id="flat ellipse"),
        pytest.param((abs(RIGHT) < 16) & (abs(DOWN) < 8), id="flat rectangle"),
        pytest.param(abs(np.hypot(RIGHT, DOWN) - 12) < 4, id="ring"),
        pytest.param(np.minimum(abs(RIGHT), abs(DOWN)) + 100 * (np.hypot(RIGHT, DOWN) > 15) < 4,
                     id="cross"),
    ],
)  # fmt: skip
def test_other_shapes_get_no_name(painted, mask):
    verdict = judge(painted(mask))
    assert verdict.found
    assert verdict.shape is None
    assert verdict.misfit > 0.35


def test_colours_between_names_get_none(plain):
    clip = render(plain, range(4)).numpy()
    red = clip[:, 0] > 180
    for pale in ((245, 245, 245), (150, 110, 60)):
        other = clip.copy()
        for channel, value in enumerate(pale):
            other[:, channel][red] = value
        verdict = judge(other)
        assert verdict.found
        assert verdict.colour is None


def test_an_unknown_background_gets_no_name(plain):
    clip = render(plain, range(4)).numpy()
    paper = clip[:, 0] < 160
    clip[:, 0][paper], clip[:, 1][paper], clip[:, 2][paper] = 90, 200, 200
    verdict = judge(clip)
    assert verdict.background is None
    assert verdict.colour == "red"


def test_flicker_between_colours_is_not_steady(along):
    clip = along(colour=["red", "orange"] * 8)
    verdict = judge(clip)
    assert verdict.colour_variation > 10
    assert not verdict.steady


@pytest.mark.parametrize("zoom", [2, 5])
def test_lengths_scale_with_the_clip(plain, zoom):
    scene = replace(plain, shape="triangle", motion="right")
    small = judge(render(scene, range(8)))
    large = judge(render(scene, range(8)).numpy().repeat(zoom, 2).repeat(zoom, 3))
    assert (large.shape, large.motion, large.steady) == ("triangle", "right", True)
    assert large.displacement[0] == pytest.approx(zoom * small.displacement[0], rel=0.02)
