"""Decoding: the right frames, upright, in the right colours; broken files are said to be so."""

from __future__ import annotations

import io
import random
import subprocess
from pathlib import Path

import imageio_ffmpeg
import numpy as np
import pytest
import torch

from tests.training.data.sets import counted_frames, jpeg, world_frames, write_mp4
from training.data.buckets import Bucket
from training.data.errors import SampleError
from training.data.images import find_cuts, fit, picture_size, read_picture
from training.data.video import probe_video, read_frames


def numbers(data: bytes, indices: list[int]) -> list[int]:
    """The numbers that frames say by their grey."""
    return [round(float(frame.mean()) / 4) for frame in read_frames(io.BytesIO(data), indices)]


def ffmpeg(*arguments: object) -> None:
    command = [imageio_ffmpeg.get_ffmpeg_exe(), "-y", "-loglevel", "error"]
    subprocess.run([*command, *map(str, arguments)], check=True)


@pytest.mark.parametrize("indices", [[0], [0, 1, 2, 3], [5, 8, 11], [37, 38, 39], [0, 39]])
def test_frames_are_found_by_number(mp4: bytes, indices: list[int]) -> None:
    assert numbers(mp4, indices) == indices


def test_facts(mp4: bytes) -> None:
    facts = probe_video(io.BytesIO(mp4))
    assert (facts.width, facts.height, facts.fps, facts.frames) == (64, 64, 24, 40)
    assert facts.duration == pytest.approx(40 / 24)


@pytest.mark.parametrize(
    ("ending", "options"),
    [
        ("mkv", ["-c", "copy"]),
        ("mov", ["-c", "copy"]),
        ("webm", ["-c:v", "libvpx-vp9", "-crf", "10", "-b:v", "0"]),
    ],
)
def test_other_containers(tmp_path: Path, mp4: bytes, ending: str, options: list[str]) -> None:
    (tmp_path / "a.mp4").write_bytes(mp4)
    other = tmp_path / f"b.{ending}"
    ffmpeg("-i", tmp_path / "a.mp4", *options, other)
    assert probe_video(io.BytesIO(other.read_bytes())).frames == 40
    assert numbers(other.read_bytes(), [3, 20, 36]) == [3, 20, 36]


def test_irregular_frames_are_found_by_their_time(tmp_path: Path, mp4: bytes) -> None:
    (tmp_path / "a.mp4").write_bytes(mp4)
    # Every other frame of the second half is missing; the rest keep their times.
    ffmpeg(
        *("-i", tmp_path / "a.mp4", "-vf", "select='lt(n,20)+not(mod(n,2))'"),
        *("-fps_mode", "vfr", "-enc_time_base", "1/24", tmp_path / "b.mp4"),
    )
    data = (tmp_path / "b.mp4").read_bytes()
    facts = probe_video(io.BytesIO(data))
    seconds = [4 / 24, 24 / 24, 36 / 24]
    shown = numbers(data, [round(second * facts.fps) for second in seconds])
    assert [number / 24 for number in shown] == pytest.approx(seconds, abs=1.1 / 24)


@pytest.mark.parametrize("degrees", [90, 180, 270])
def test_rotated_videos_are_upright(tmp_path: Path, degrees: int) -> None:
    frames = np.zeros((2, 32, 64, 3), np.uint8)
    frames[:, :16, :32] = 250  # top left
    path = write_mp4(tmp_path / "a.mp4", frames)
    ffmpeg("-display_rotation", degrees, "-i", path, "-c", "copy", tmp_path / "turned.mp4")
    # ffmpeg turns the pixels when it encodes anew.
    ffmpeg("-i", tmp_path / "turned.mp4", "-crf", "10", tmp_path / "upright.mp4")
    turned, upright = (
        next(read_frames(io.BytesIO((tmp_path / f"{name}.mp4").read_bytes()), [0]))
        for name in ("turned", "upright")
    )
    assert turned.shape == upright.shape
    assert np.abs(turned.astype(int) - upright.astype(int)).mean() < 3
    facts = probe_video(io.BytesIO((tmp_path / "turned.mp4").read_bytes()))
    assert (facts.height, facts.width) == turned.shape[:2]


def test_wide_pixels_are_made_square(tmp_path: Path, mp4: bytes) -> None:
    (tmp_path / "a.mp4").write_bytes(mp4)
    ffmpeg("-i", tmp_path / "a.mp4", "-vf", "setsar=2/1", tmp_path / "b.mp4")
    data = (tmp_path / "b.mp4").read_bytes()
    assert probe_video(io.BytesIO(data)).width == 128
    assert next(read_frames(io.BytesIO(data), [0])).shape == (64, 128, 3)


def test_colours_survive(tmp_path: Path) -> None:
    frames = world_frames(3)
    path = write_mp4(tmp_path / "a.mp4", frames)
    seen = next(read_frames(io.BytesIO(path.read_bytes()), [1]))
    assert np.abs(seen.astype(int) - frames[1].astype(int)).mean() < 4


@pytest.mark.parametrize("share", [0.0, 0.1, 0.4, 0.7])
def test_cut_videos_are_broken(mp4: bytes, share: float) -> None:
    data = mp4[: int(len(mp4) * share)]
    with pytest.raises(SampleError, match=r"broken video|no moving picture|ends early"):
        numbers(data, [0, 39])


def test_damaged_videos_never_end_in_another_error(mp4: bytes) -> None:
    rng = random.Random(0)
    outcomes = set()
    for _ in range(60):
        data = bytearray(mp4)
        for _ in range(rng.choice([1, 8, 200])):
            data[rng.randrange(len(data))] = rng.randrange(256)
        try:
            probe_video(io.BytesIO(bytes(data)))
            numbers(bytes(data), [0, 20, 39])
            outcomes.add("read")
        except SampleError as error:
            outcomes.add(error.reason)
    assert "broken video" in outcomes


def test_sound_alone_is_no_video(tmp_path: Path) -> None:
    ffmpeg("-f", "lavfi", "-i", "sine=d=0.2", tmp_path / "a.mp4")
    with pytest.raises(SampleError, match="no moving picture"):
        probe_video(io.BytesIO((tmp_path / "a.mp4").read_bytes()))


# Pictures


def test_pictures_are_read_and_measured() -> None:
    assert picture_size(io.BytesIO(jpeg(40, 20))) == (40, 20)
    assert read_picture(jpeg(40, 20)).shape == (20, 40, 3)


@pytest.mark.parametrize("data", [b"", b"GIF89a", jpeg()[:100], bytes(300)])
def test_broken_pictures(data: bytes) -> None:
    with pytest.raises(SampleError, match="broken picture"):
        read_picture(data)


# Fitting


@pytest.mark.parametrize(("height", "width"), [(64, 64), (30, 100), (100, 30), (31, 33)])
def test_frames_fit_whatever_their_size(height: int, width: int) -> None:
    frame = np.full((height, width, 3), 77, np.uint8)
    fitted = fit(frame, Bucket(48, 32))
    assert fitted.shape == (3, 32, 48)
    assert (fitted == 77).all()


def test_crops_are_taken_where_told() -> None:
    frame = np.zeros((10, 30, 3), np.uint8)
    frame[:, 10:20] = 100
    frame[:, 20:] = 200
    bucket = Bucket(10, 10)
    assert [int(fit(frame, bucket, (x, 0.5)).float().mean()) for x in (0, 0.5, 1)] == [0, 100, 200]


def test_shrinking_is_antialiased() -> None:
    stripes = np.zeros((64, 64, 3), np.uint8)
    stripes[:, ::2] = 255
    small = fit(stripes, Bucket(16, 16)).float()
    assert small.std() < 4
    assert small.mean() == pytest.approx(127.5, abs=3)


# Cuts


def frames_of(*levels: int) -> torch.Tensor:
    return torch.stack([torch.full((3, 16, 16), level, dtype=torch.uint8) for level in levels])


def test_hard_cuts_are_found_and_fast_changes_are_not() -> None:
    assert find_cuts(frames_of(10, 11, 12, 200, 201, 202), 0.1) == [3]
    assert find_cuts(frames_of(10, 60, 110, 160, 210, 250), 0.1) == []
    assert find_cuts(frames_of(10, 12, 14, 30, 32, 34), 0.1) == []
    assert find_cuts(frames_of(10, 200), 0.1) == [1]
    assert find_cuts(frames_of(10, 200), 0) == []
    assert find_cuts(frames_of(10), 0.1) == []


def test_moving_objects_are_no_cuts() -> None:
    for seed in range(8):
        clip = torch.from_numpy(world_frames(16, seed=seed)).permute(0, 3, 1, 2)
        assert find_cuts(clip, 0.1) == []


def test_numbers_of_the_test_clip_can_be_told_apart() -> None:
    assert len({frame.mean() for frame in counted_frames(40)}) == 40
