"""Training sees the colours that everybody sees, each of them and not only on average."""

from __future__ import annotations

import io
import subprocess
from pathlib import Path

import numpy as np
import pytest

from benchmarks.colour_cases import CLIPS, Tagged, largest_error, patches, write_tagged
from engine.serving.media.ffmpeg import find_ffmpeg
from engine.serving.media.mp4 import encode_mp4
from training.data.errors import SampleError
from training.data.video import read_frames

Frames = np.ndarray


def first_frame(path: Path) -> Frames:
    return next(read_frames(io.BytesIO(path.read_bytes()), [0]))


def write(path: Path, pixels: Frames, *options: str) -> Path:
    height, width = pixels.shape[:2]
    raw = ["-f", "rawvideo", "-pix_fmt", "rgb24", "-s", f"{width}x{height}", "-r", "8", "-i", "-"]
    command = [find_ffmpeg(), "-v", "error", "-y", *raw, *options, str(path)]
    subprocess.run(command, input=np.stack([pixels] * 2).tobytes(), check=True)
    return path


@pytest.mark.parametrize("case", CLIPS, ids=str)
def test_clips_of_other_programs(tmp_path: Path, case: Tagged) -> None:
    """PyAV#2230, #2149, #2034: what is tagged BT.709 was converted as BT.601."""
    path = write_tagged(tmp_path / f"a.{case.ending}", case)
    assert largest_error(first_frame(path), patches(case.width, case.height)) <= 5


def test_clips_of_this_program(tmp_path: Path) -> None:
    path = tmp_path / "a.mp4"
    frames = np.stack([patches()] * 2)
    encode_mp4(frames, path, fps=8, crf=6, min_short_side=16, comment="")
    assert largest_error(first_frame(path), frames[0]) <= 4


@pytest.mark.parametrize(
    ("ending", "options"),
    [
        ("mkv", ("-c:v", "ffv1", "-pix_fmt", "gbrp")),
        ("avi", ("-c:v", "rawvideo", "-pix_fmt", "bgr24")),
        ("mov", ("-c:v", "qtrle", "-pix_fmt", "rgb24")),
    ],
)
def test_clips_that_are_rgb_are_taken_as_they_are(
    tmp_path: Path, ending: str, options: tuple[str, ...]
) -> None:
    path = write(tmp_path / f"a.{ending}", patches(), *options)
    assert np.array_equal(first_frame(path), patches())


@pytest.mark.parametrize("codec", ["prores_ks", "libx264"])
def test_deep_colours(tmp_path: Path, codec: str) -> None:
    """Ten bits, as cameras and editing programs write."""
    scale = "scale=out_color_matrix=bt709:out_range=tv:flags=accurate_rnd+full_chroma_int"
    chain = f"{scale},format=yuv422p10le,setparams=range=tv:colorspace=bt709"
    quality = ("-crf", "4") if codec == "libx264" else ("-profile:v", "3")
    path = write(tmp_path / "a.mov", patches(), "-vf", chain, "-c:v", codec, *quality)
    assert largest_error(first_frame(path), patches()) <= 6


def test_a_transparent_clip_lies_on_white(tmp_path: Path) -> None:
    chain = "format=rgba,colorchannelmixer=aa=0.5"
    path = write(tmp_path / "a.mov", patches(), "-vf", chain, "-c:v", "qtrle", "-pix_fmt", "argb")
    blended = (patches().astype(int) + 255) // 2
    assert np.abs(first_frame(path).astype(int) - blended).max() <= 2


def tagged(path: Path, primaries: str, transfer: str, matrix: str = "bt709") -> Path:
    scale = f"scale=out_color_matrix={matrix.removesuffix('nc')}:out_range=tv:flags=accurate_rnd"
    tags = f"range=tv:colorspace={matrix}:color_primaries={primaries}:color_trc={transfer}"
    chain = f"{scale},format=yuv420p,setparams={tags}"
    return write(path, patches(), "-vf", chain, "-c:v", "libx264", "-crf", "2")


def test_wide_primaries_are_brought_into_srgb(tmp_path: Path) -> None:
    """Phones film in Display P3: its pure green lies outside of sRGB, its greys are the same."""
    shown, meant = first_frame(tagged(tmp_path / "a.mp4", "smpte432", "bt709")), patches()

    def seen(colour: tuple[int, int, int]) -> list[float]:
        found: list[float] = np.median(shown[np.all(meant == colour, axis=-1)], axis=0).tolist()
        return found

    for grey in (0, 85, 170, 255):
        assert seen((grey, grey, grey)) == pytest.approx([grey] * 3, abs=3)
    assert seen((224, 172, 138)) == pytest.approx((237, 170, 132), abs=4)
    assert seen((0, 255, 0)) == pytest.approx((0, 255, 0), abs=3)


def test_tags_of_the_usual_primaries_change_nothing(tmp_path: Path) -> None:
    for primaries, matrix in (("bt709", "bt709"), ("smpte170m", "smpte170m")):
        name = "bt601" if matrix == "smpte170m" else matrix
        path = tmp_path / f"{primaries}.mp4"
        tags = f"range=tv:colorspace={matrix}:color_primaries={primaries}:color_trc={matrix}"
        chain = f"scale=out_color_matrix={name}:out_range=tv,format=yuv420p,setparams={tags}"
        write(path, patches(), "-vf", chain, "-c:v", "libx264", "-crf", "2")
        assert largest_error(first_frame(path), patches()) <= 6


def test_hdr_that_cannot_be_shown_is_left_out_with_a_word(tmp_path: Path) -> None:
    path = tagged(tmp_path / "a.mp4", "bt2020", "smpte2084", "bt2020nc")
    with pytest.raises(SampleError, match="unknown colours: it is HDR video"):
        first_frame(path)
