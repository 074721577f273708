"""Motions and steadiness."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest

from training.data.synthetic import DIRECTIONS, FPS_LABELS, GROWTH, SPEED, SPIN, render
from training.judge import judge

SIXTEEN = range(16)


@pytest.mark.parametrize("fps", FPS_LABELS)
@pytest.mark.parametrize("motion", DIRECTIONS)
def test_directions_at_every_fps_label(plain, motion, fps):
    verdict = judge(render(replace(plain, motion=motion, fps=fps), SIXTEEN))
    assert verdict.motion == motion
    assert verdict.steady
    dx, dy = DIRECTIONS[motion]
    assert verdict.displacement == pytest.approx((dx * SPEED / fps, dy * SPEED / fps), abs=0.02)


@pytest.mark.parametrize("fps", FPS_LABELS)
@pytest.mark.parametrize(("motion", "radius", "sign"), [("grow", 9.0, 1), ("shrink", 17.0, -1)])
def test_growth(plain, motion, radius, sign, fps):
    scene = replace(plain, motion=motion, radius=radius, fps=fps, shape="square")
    verdict = judge(render(scene, SIXTEEN))
    assert (verdict.motion, verdict.steady) == (motion, True)
    assert verdict.growth == pytest.approx(sign * GROWTH / fps, rel=0.05)


@pytest.mark.parametrize("fps", FPS_LABELS)
@pytest.mark.parametrize("shape", ["square", "triangle"])
def test_spin(plain, shape, fps):
    verdict = judge(render(replace(plain, motion="spin", shape=shape, fps=fps), SIXTEEN))
    assert (verdict.motion, verdict.shape, verdict.steady) == ("spin", shape, True)
    assert verdict.turn == pytest.approx(SPIN / fps, rel=0.03)


def test_still(plain):
    verdict = judge(render(plain, SIXTEEN))
    assert (verdict.motion, verdict.steady) == ("still", True)
    assert verdict.displacement == pytest.approx((0, 0), abs=1e-6)


@pytest.mark.parametrize("base", [0.0, 1.3], ids=["in place", "on the way right"])
@pytest.mark.parametrize("seed", range(5))
def test_jitter_is_no_motion(along, base, seed):
    noise = np.random.default_rng(seed).normal(0, 1.5, (2, 16))
    clip = along(x=[24 + base * i + noise[0, i] for i in SIXTEEN], y=list(32 + noise[1]))
    verdict = judge(clip)
    assert verdict.found
    assert verdict.motion is None
    assert not verdict.steady
    assert verdict.jerk > 2


def test_jerk_is_the_mean_second_difference(along):
    # Up and down by 1 px about the middle: the steps are 2 px, their differences 4 px.
    clip = along(y=[32 + (-1) ** i for i in SIXTEEN])
    assert judge(clip).jerk == pytest.approx(4, abs=0.01)


@pytest.mark.parametrize(
    "path",
    [
        pytest.param([(32 + 8 * math.cos(i / 2.5), 32 + 8 * math.sin(i / 2.5)) for i in SIXTEEN],
                     id="circle"),
        pytest.param([(22 + i, 32 + 8 * math.sin(i / 2)) for i in SIXTEEN], id="winding"),
        pytest.param([(22.0 + i, 22.0 + i) for i in SIXTEEN], id="diagonal"),
        pytest.param([(24.0 + 2 * abs(8 - i), 32.0) for i in SIXTEEN], id="there and back"),
    ],
)  # fmt: skip
def test_smooth_paths_that_are_no_direction(along, path):
    verdict = judge(along(x=[x for x, _ in path], y=[y for _, y in path]))
    assert verdict.jerk < 2
    assert verdict.motion is None


def test_pulsing_is_neither_still_nor_steady(along):
    verdict = judge(along(radius=[11.0, 13.0] * 8))
    assert verdict.motion is None
    assert not verdict.steady


def test_leaving_the_frame_keeps_the_direction(along):
    verdict = judge(along(x=[40.0 + 3 * i for i in SIXTEEN]))
    assert verdict.found
    assert verdict.visible < 1
    assert verdict.motion == "right"
    assert not verdict.steady


def test_a_jump_is_not_a_motion(along):
    assert judge(along(x=[20.0] * 8 + [44.0] * 8)).motion is None


def test_an_object_missing_now_and_then_has_a_path_but_is_not_steady(plain):
    clip = render(replace(plain, motion="left"), SIXTEEN).numpy()
    clip[[5, 9, 10]] = clip[0, :, :1, :1]
    verdict = judge(clip)
    assert verdict.visible == 13 / 16
    assert verdict.motion == "left"
    assert verdict.displacement[0] == pytest.approx(-SPEED / 8, abs=0.02)
    assert verdict.jerk < 0.1  # the gaps are no jumps
    assert not verdict.steady


@pytest.mark.parametrize("count", [1, 2, 3])
def test_few_frames_name_no_motion(plain, count):
    verdict = judge(render(replace(plain, motion="right"), range(count)))
    assert (verdict.found, verdict.colour, verdict.motion) == (True, "red", None)
    assert (verdict.jerk is None) == (count < 3)
