"""The MP4 files: read back with a decoder, frame by frame."""

import errno
import json
import stat
import struct
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import numpy.typing as npt
import psutil
import pytest

from engine.serving.media.mp4 import EncodeError, EncoderMissingError, encode_mp4, enlargement
from tests.engine.serving.clips import watch_video

Frames = npt.NDArray[np.uint8]


def moving_box(count: int = 6, height: int = 64, width: int = 64) -> Frames:
    frames = np.full((count, height, width, 3), (30, 60, 200), dtype=np.uint8)
    for index in range(count):
        frames[index, 16:32, 4 + 6 * index : 20 + 6 * index] = (220, 40, 30)
    return frames


def encode(frames: Frames, path: Path, **changes: object) -> None:
    options: dict[str, object] = {"fps": 8, "crf": 8, "min_short_side": 320, "comment": "{}"}
    encode_mp4(frames, path, **(options | changes))  # type: ignore[arg-type]


def top_level_boxes(path: Path) -> list[str]:
    data, names, at = path.read_bytes(), [], 0
    while at < len(data):
        (size,) = struct.unpack(">I", data[at : at + 4])
        names.append(data[at + 4 : at + 8].decode("latin-1"))
        assert size >= 8, "64-bit boxes are for files of 4 GiB"
        at += size
    return names


def test_frames_come_back_as_they_went_in(tmp_path: Path) -> None:
    frames = moving_box()
    encode(frames, tmp_path / "clip.mp4")
    video = watch_video(tmp_path / "clip.mp4")
    assert video.frames.shape == (6, 320, 320, 3)
    assert video.fps == 8
    assert video.codec == "h264"
    assert str(video.pix_fmt).startswith("yuv420p")
    assert video.duration_s == pytest.approx(6 / 8, abs=0.01)
    middles = video.frames[:, 2::5, 2::5].astype(int)  # the middle of every enlarged pixel
    inside = np.zeros(frames.shape[:3], dtype=bool)
    inside[:, 2:-2, 2:-2] = True
    error = np.abs(middles - frames)[inside]
    assert error.mean() < 4
    assert np.abs(middles[0, 24, 10] - (220, 40, 30)).max() < 12
    assert np.abs(middles[5, 24, 40] - (220, 40, 30)).max() < 12


@pytest.mark.parametrize("fps", [1, 8, 12, 24, 30])
def test_the_rate_is_exact(tmp_path: Path, fps: int) -> None:
    encode(moving_box(5, 16, 16), tmp_path / "clip.mp4", fps=fps, min_short_side=32)
    video = watch_video(tmp_path / "clip.mp4")
    assert video.fps == fps
    assert len(video.frames) == 5


def test_one_frame_is_a_clip(tmp_path: Path) -> None:
    encode(moving_box(1), tmp_path / "clip.mp4")
    assert len(watch_video(tmp_path / "clip.mp4").frames) == 1


def test_the_index_comes_first(tmp_path: Path) -> None:
    encode(moving_box(), tmp_path / "clip.mp4")
    boxes = top_level_boxes(tmp_path / "clip.mp4")
    assert boxes.index("moov") < boxes.index("mdat")


def test_the_comment_survives(tmp_path: Path) -> None:
    comment = json.dumps({"prompt": 'a "cat" = 100 % ; \\ \n\0 snow 雪', "seed": 2**32 - 1})
    encode(moving_box(), tmp_path / "clip.mp4", comment=comment)
    import av

    with av.open(str(tmp_path / "clip.mp4")) as container:
        assert container.metadata["comment"] == comment
        assert container.streams.video[0].codec_context.color_range == 1  # limited, as tagged


HOSTILE_COMMENTS = [
    "a=b;c#d\\e",
    "[STREAM]\ntitle=not a tag\n",
    "two\r\nlines\n",
    "#no remark",
    ";FFMETADATA1",
    "a backslash at the end\\",
    "\\\n\\\\\n",
    " blanks around ",
    "雪 🙂 \u2028",
    "long " * 20_000,
    "-y -f null /dev/null",
]


@pytest.mark.parametrize("comment", HOSTILE_COMMENTS, ids=range(len(HOSTILE_COMMENTS)))
def test_any_comment_survives_and_is_no_argument(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, comment: str
) -> None:
    import av

    commands: list[str] = []
    start = subprocess.Popen

    class Watched(start):  # type: ignore[misc, valid-type]
        def __init__(self, command: list[str], *rest: object, **options: object) -> None:
            commands.extend(command)
            super().__init__(command, *rest, **options)

    monkeypatch.setattr(subprocess, "Popen", Watched)
    private = tmp_path / "private"
    private.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(private))
    encode(moving_box(1), tmp_path / "clip.mp4", comment=comment)
    with av.open(str(tmp_path / "clip.mp4")) as container:
        assert container.metadata["comment"] == comment
        assert "title" not in container.metadata
    assert commands
    assert not [word for word in commands if comment.strip() in word]
    assert list(private.iterdir()) == []


def test_what_is_said_to_ffmpeg_can_be_read_by_this_account_only(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    modes: list[int] = []

    def check() -> None:
        modes.extend(stat.S_IMODE(file.stat().st_mode) for file in tmp_path.glob("floor33-*"))

    encode(moving_box(), tmp_path / "clip.mp4", comment="words", check=check)
    assert set(modes) == {0o600}


def test_equal_frames_give_equal_bytes(tmp_path: Path) -> None:
    for name in ("a.mp4", "b.mp4"):
        encode(moving_box(), tmp_path / name)
    assert (tmp_path / "a.mp4").read_bytes() == (tmp_path / "b.mp4").read_bytes()


@pytest.mark.parametrize(
    ("width", "height", "factor"),
    [(64, 64, 5), (320, 320, 1), (512, 320, 1), (40, 24, 14), (107, 107, 4), (1024, 576, 1)],
)
def test_small_clips_are_enlarged_by_a_whole_factor(width: int, height: int, factor: int) -> None:
    assert enlargement(width, height, 320) == factor


def test_odd_sides_become_even(tmp_path: Path) -> None:
    encode(moving_box(2, 33, 47), tmp_path / "small.mp4", min_short_side=64)
    assert watch_video(tmp_path / "small.mp4").frames.shape == (2, 66, 94, 3)
    encode(moving_box(2, 33, 47), tmp_path / "large.mp4", min_short_side=2)
    assert watch_video(tmp_path / "large.mp4").frames.shape == (2, 32, 46, 3)


def test_an_older_file_is_replaced(tmp_path: Path) -> None:
    (tmp_path / "clip.mp4").write_bytes(b"old")
    encode(moving_box(), tmp_path / "clip.mp4")
    assert len(watch_video(tmp_path / "clip.mp4").frames) == 6
    assert [path.name for path in tmp_path.iterdir()] == ["clip.mp4"]


def encoder_that(tmp_path: Path, script: str) -> Path:
    """A program in the encoder's place."""
    program = tmp_path / "bin" / "ffmpeg"
    program.parent.mkdir()
    program.write_text(f"#!{sys.executable}\nimport sys\n{script}\n")
    program.chmod(0o755)
    return program


def test_what_ffmpeg_says_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    script = "open(sys.argv[-1], 'w').write('half'); sys.exit('Unknown encoder libx264')"
    monkeypatch.setenv("IMAGEIO_FFMPEG_EXE", str(encoder_that(tmp_path, script)))
    out = tmp_path / "out"
    out.mkdir()
    with pytest.raises(EncodeError, match="code 1: Unknown encoder libx264"):
        encode(moving_box(), out / "clip.mp4")
    assert list(out.iterdir()) == []


def test_a_full_disk_is_told_apart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    script = "open(sys.argv[-1], 'w').write('half'); sys.exit('av: No space left on device')"
    monkeypatch.setenv("IMAGEIO_FFMPEG_EXE", str(encoder_that(tmp_path, script)))
    out = tmp_path / "out"
    out.mkdir()
    with pytest.raises(OSError, match="No space left") as caught:
        encode(moving_box(), out / "clip.mp4")
    assert caught.value.errno == errno.ENOSPC
    assert list(out.iterdir()) == []


def test_a_missing_encoder_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("IMAGEIO_FFMPEG_EXE", str(tmp_path / "nowhere" / "ffmpeg"))
    with pytest.raises(EncoderMissingError, match="nowhere"):
        encode(moving_box(), tmp_path / "clip.mp4")


def test_an_encoder_whose_clip_nobody_wants_any_more_is_killed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It neither reads nor ends: the input is larger than a pipe holds."""
    script = "import os, time; open(sys.argv[-1], 'w').write(str(os.getpid())); time.sleep(300)"
    monkeypatch.setenv("IMAGEIO_FFMPEG_EXE", str(encoder_that(tmp_path, script)))
    out = tmp_path / "out"
    out.mkdir()
    pids: list[int] = []

    def check() -> None:
        written = "".join(path.read_text() for path in out.iterdir())
        if written:
            pids.append(int(written))
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        encode_mp4(
            moving_box(200),
            out / "clip.mp4",
            fps=8,
            crf=8,
            min_short_side=2,
            comment="",
            check=check,
        )
    assert not psutil.pid_exists(pids[0])
    assert list(out.iterdir()) == []


def test_an_encoder_that_says_much_and_reads_nothing_is_heard(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    script = "sys.stderr.write('x' * 500_000 + 'the reason'); sys.exit(1)"
    monkeypatch.setenv("IMAGEIO_FFMPEG_EXE", str(encoder_that(tmp_path, script)))
    with pytest.raises(EncodeError, match=r"xthe reason$"):
        encode(moving_box(200), tmp_path / "clip.mp4")
