"""A clip shows the same colours in every format that it is handed out in."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from benchmarks.colour_cases import COLOURS, largest_error, largest_mean_error, patches
from engine.serving.media.gif_webp import ClipFormat, convert_clip
from engine.serving.media.size_limit import fit_to_limit
from tests.engine.serving.clips import Frames, busy_frames, watch_animation, watch_video, write_clip


def moving_patches() -> Frames:
    frames = np.stack([patches()] * 3)
    frames[1:, :4, :4] = 255 - frames[1:, :4, :4]  # or it is a still picture
    return frames


def test_an_mp4_has_the_colours_of_its_frames(tmp_path: Path) -> None:
    clip = write_clip(tmp_path / "job.mp4", moving_patches(), crf=6)
    assert largest_error(watch_video(clip).frames[0], patches()) <= 4


def test_a_smaller_mp4_keeps_them(tmp_path: Path) -> None:
    clip = write_clip(tmp_path / "job.mp4", moving_patches(), crf=6)
    fitted = fit_to_limit(clip, clip.stat().st_size - 1)
    assert largest_error(watch_video(fitted.path).frames[0], patches()) <= 6


def test_a_webp_keeps_them(tmp_path: Path) -> None:
    """ComfyUI-VideoHelperSuite#529, TwelveMonkeys#619: a WebP is BT.601, whatever it came from."""
    clip = write_clip(tmp_path / "job.mp4", moving_patches(), crf=6)
    shown, _, _ = watch_animation(convert_clip(clip, "webp").path)
    assert largest_mean_error(shown[0], patches()) <= 6


@pytest.mark.parametrize("to", ["gif", "webp"])
@pytest.mark.parametrize("colour", COLOURS[-8:], ids=str)
def test_each_colour_alone(tmp_path: Path, to: ClipFormat, colour: tuple[int, int, int]) -> None:
    frames = np.empty((4, 64, 64, 3), np.uint8)
    frames[:] = colour
    frames[1:, :2, :2] = 255
    clip = write_clip(tmp_path / "job.mp4", frames, fps=8)
    shown, _, _ = watch_animation(convert_clip(clip, to).path)
    assert np.abs(shown[0, 16:48, 16:48].astype(int) - colour).max() <= 5


def test_a_smaller_webp_keeps_them(tmp_path: Path) -> None:
    """Where the size is given up, too."""
    frames = busy_frames(4, 128, 128)
    frames[:, :, :64] = (0, 200, 0)
    clip = write_clip(tmp_path / "job.mp4", frames)
    made = convert_clip(clip, "webp", convert_clip(clip, "webp").bytes // 8)
    assert made.how == "size"
    shown, _, _ = watch_animation(made.path)
    left = shown[0, 8:-8, 4 : made.width // 2 - 12].reshape(-1, 3).mean(axis=0)
    assert left == pytest.approx((0, 200, 0), abs=8)


@pytest.mark.parametrize(("frames", "fps"), [(1, 120), (2, 240), (1, 101), (1, 50)])
@pytest.mark.parametrize("to", ["gif", "webp"])
def test_a_clip_of_an_instant_has_a_frame(
    tmp_path: Path, to: ClipFormat, frames: int, fps: int
) -> None:
    clip = write_clip(tmp_path / "job.mp4", busy_frames(frames), fps=fps)
    assert convert_clip(clip, to).bytes > 0
