"""Clips that show no object, and input that is no clip."""

from __future__ import annotations

from dataclasses import fields

import numpy as np
import pytest

from training.data.synthetic import COLOURS, render
from training.judge import Thresholds, Verdict, judge
from training.judge.mask import label, largest_regions

RNG = np.random.default_rng(0)
RED, BLUE = (np.array(COLOURS[name]).reshape(1, 3, 1, 1) for name in ("red", "blue"))


def two_coloured(mask):
    return np.where(mask, RED, BLUE).astype(np.uint8)


@pytest.mark.parametrize(
    "clip",
    [
        pytest.param(np.full((16, 3, 64, 64), 14, np.uint8), id="constant"),
        pytest.param(RNG.integers(0, 256, (16, 3, 64, 64)).astype(np.uint8), id="noise"),
        pytest.param(two_coloured(RNG.random((16, 1, 64, 64)) < 0.5), id="two colours evenly"),
        pytest.param(two_coloured(RNG.random((16, 1, 64, 64)) < 0.2), id="two colours sparsely"),
        pytest.param(
            two_coloured(np.kron(RNG.random((16, 1, 8, 8)) < 0.3, np.ones((8, 8))) > 0),
            id="blocks",
        ),
        pytest.param(
            (128 + RNG.normal(0, 14, (16, 3, 64, 64))).clip(0, 255).astype(np.uint8),
            id="grey with noise of 25 dB",
        ),
        pytest.param(
            np.broadcast_to(np.arange(64, dtype=np.uint8) * 4, (16, 3, 64, 64)), id="gradient"
        ),
    ],
)
def test_nothing_is_found(clip):
    verdict = judge(clip)
    assert not verdict.found
    assert not verdict.steady
    unset = {f.name for f in fields(Verdict)} - {"found", "visible", "steady", "background"}
    assert {getattr(verdict, name) for name in unset} == {None}


def test_the_background_of_an_empty_clip_is_named():
    assert judge(np.full((4, 3, 64, 64), 14, np.uint8)).background == "black"


def test_two_objects_are_not_one(painted):
    right, down = np.meshgrid(np.arange(64), np.arange(64))
    blobs = [np.hypot(right - x, down - 32) < 9 for x in (18, 46)]
    assert judge(painted(blobs[0])).found
    assert not judge(painted(blobs[0] | blobs[1])).found


def test_lines_are_no_object(painted):
    right, down = np.meshgrid(np.arange(64) - 32, np.arange(64) - 32)
    assert not judge(painted((abs(down + 0.5) < 1) & (abs(right) < 26))).found
    assert not judge(painted(abs(np.hypot(right, down) - 20) < 1.2)).found


@pytest.mark.parametrize(("grey", "found"), [(146, False), (200, True)])
def test_a_faint_object_is_none(plain, grey, found):
    clip = render(plain, range(4)).numpy()  # on (128, 130, 132)
    clip[np.broadcast_to(clip[:, :1] > 140, clip.shape)] = grey
    assert judge(clip).found == found


def test_specks_do_not_hide_the_object(plain):
    clip = render(plain, range(8)).numpy()
    clip[:, :, 4:6, 4:7] = 255
    verdict = judge(clip)
    assert (verdict.colour, verdict.shape, verdict.motion) == ("red", "circle", "still")


@pytest.mark.parametrize(
    "clip",
    [
        np.zeros((16, 3, 64, 64), np.float32),
        np.zeros((3, 64, 64), np.uint8),
        np.zeros((16, 64, 64, 3), np.uint8),
        np.zeros((0, 3, 64, 64), np.uint8),
        np.zeros((16, 3, 8, 64), np.uint8),
    ],
    ids=["float", "one picture", "channels last", "no frames", "tiny"],
)
def test_what_is_no_clip_is_refused(clip):
    with pytest.raises(ValueError, match="a clip"):
        judge(clip)


def test_regions_agree_with_a_flood_fill():
    mask = RNG.random((3, 24, 24)) < 0.6
    labels = label(mask)
    expected = np.full(mask.shape, -1)
    for start in zip(*np.nonzero(mask), strict=True):
        if expected[start] >= 0:
            continue
        stack, name = [start], int(np.ravel_multi_index(start, mask.shape))
        while stack:
            f, y, x = stack.pop()
            inside = 0 <= y < 24 and 0 <= x < 24
            if inside and mask[f, y, x] and expected[f, y, x] < 0:
                expected[f, y, x] = name
                stack += [(f, y + 1, x), (f, y - 1, x), (f, y, x + 1), (f, y, x - 1)]
    assert np.array_equal(labels, expected)


def test_the_largest_region_is_kept_in_each_frame():
    mask = np.zeros((3, 8, 8), dtype=np.bool_)
    mask[0, 0, :3] = mask[0, 4:6, 4:6] = True
    mask[1, 2, 2] = True
    kept = largest_regions(mask)
    assert kept.sum(axis=(1, 2)).tolist() == [4, 1, 0]
    assert kept[0, 4:6, 4:6].all()


@pytest.mark.parametrize(
    ("limits", "message"),
    [
        ({"min_core": 0.0}, r"min_core must be in \(0, 1\], not 0.0"),
        ({"min_visible": 1.5}, r"min_visible must be in \(0, 1\], not 1.5"),
        ({"max_jerk": -1.0}, r"max_jerk must be in \(0, inf\], not -1.0"),
        ({"min_speed": float("nan")}, "min_speed must be"),
    ],
)
def test_meaningless_limits_are_refused(limits, message):
    with pytest.raises(ValueError, match=message):
        Thresholds(**limits)


def test_limits_can_be_changed(plain):
    clip = render(plain, range(8))
    assert not judge(clip, Thresholds(min_area=0.5)).found
