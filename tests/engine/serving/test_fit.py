"""Clips made to fit an upload limit, read back with decoders."""

import errno
import sys
from pathlib import Path

import numpy as np
import pytest

from engine.serving.media.mp4 import EncodeError
from engine.serving.media.probe import probe_clip
from engine.serving.media.size_limit import fit_to_limit
from engine.serving.media.size_search import CannotFitError, largest_fitting, sizes
from tests.engine.serving.clips import Video, busy_frames, psnr_db, watch_video, write_clip


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("clips")


@pytest.fixture(scope="module")
def clip(folder: Path) -> Path:
    return write_clip(folder / "job-1.mp4")


@pytest.fixture(scope="module")
def original(clip: Path) -> Video:
    return watch_video(clip)


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def test_a_clip_that_fits_is_left_alone(clip: Path) -> None:
    size = clip.stat().st_size
    fitted = fit_to_limit(clip, size)
    assert (fitted.path, fitted.bytes, fitted.how) == (clip, size, "as_is")
    assert (fitted.width, fitted.height) == (128, 96)
    assert not (clip.parent / "job-1.fit.mp4").exists()


@pytest.mark.parametrize(
    ("share", "how"),
    [(0.6, "quality"), (0.3, "quality"), (0.1, "bitrate"), (0.045, "size"), (0.03, "size")],
)
def test_first_quality_then_bitrate_then_size(
    clip: Path, original: Video, share: float, how: str
) -> None:
    before = clip.read_bytes()
    limit = int(len(before) * share)
    fitted = fit_to_limit(clip, limit)
    assert fitted.how == how, fitted
    assert fitted.path == clip.with_name("job-1.fit.mp4")
    assert fitted.bytes == fitted.path.stat().st_size <= limit
    made = watch_video(fitted.path)
    assert made.fps == original.fps == 12
    assert made.duration_s == pytest.approx(original.duration_s, abs=0.002) == 1.0
    assert (made.codec, made.pix_fmt) == ("h264", "yuv420p")
    assert made.comment == '{"a": 1}'
    assert made.frames.shape == (12, fitted.height, fitted.width, 3)
    if how == "size":
        assert (fitted.width, fitted.height) in sizes(128, 96)[1:]
    else:
        assert (fitted.width, fitted.height) == (128, 96)
        assert psnr_db(made.frames, original.frames) > 18
    assert clip.read_bytes() == before
    assert names(clip.parent) == {"job-1.mp4", "job-1.fit.mp4"}


@pytest.mark.parametrize("first", range(6))
def test_the_best_rung_that_fits_is_found_wherever_the_search_begins(
    tmp_path: Path, first: int
) -> None:
    files = (90, 70, 50, 30, 20, 10)

    def encode(level: int) -> Path:
        path = tmp_path / f"{level}"
        path.write_bytes(b"x" * files[level])
        return path

    for limit in range(9, 92):
        fitting = [level for level in range(6) if files[level] <= limit]
        found = largest_fitting(range(6), first, encode, limit)
        if fitting:
            assert found == (fitting[0], tmp_path / f"{fitting[0]}")
        else:
            assert found == tmp_path / "5"
        assert len(names(tmp_path)) == 1, "attempts that are not wanted are removed"
        next(tmp_path.iterdir()).unlink()


def test_the_same_clip_and_limit_give_the_same_bytes(clip: Path) -> None:
    for share in (0.4, 0.04):
        limit = int(clip.stat().st_size * share)
        first = fit_to_limit(clip, limit).path.read_bytes()
        assert fit_to_limit(clip, limit).path.read_bytes() == first


def test_what_cannot_fit_says_how_small_it_gets(clip: Path) -> None:
    kept = fit_to_limit(clip, int(clip.stat().st_size * 0.3)).path.read_bytes()
    with pytest.raises(CannotFitError, match="500 are allowed") as caught:
        fit_to_limit(clip, 500)
    assert caught.value.limit_bytes == 500
    assert 500 < caught.value.smallest_bytes < clip.stat().st_size * 0.1
    assert (clip.parent / "job-1.fit.mp4").read_bytes() == kept
    assert names(clip.parent) == {"job-1.mp4", "job-1.fit.mp4"}
    # The number is the truth: that limit can be kept.
    assert fit_to_limit(clip, caught.value.smallest_bytes).bytes <= caught.value.smallest_bytes


def test_the_long_comment_of_a_short_clip_is_counted(tmp_path: Path) -> None:
    clip = write_clip(tmp_path / "a.mp4", busy_frames(2, 64, 64), comment="x" * 6000)
    with pytest.raises(CannotFitError):
        fit_to_limit(clip, 6000)
    assert fit_to_limit(clip, 9000).bytes <= 9000


@pytest.mark.parametrize(("count", "fps"), [(1, 8), (3, 30), (5, 1)])
def test_length_and_rate_stay_whatever_they_are(tmp_path: Path, count: int, fps: int) -> None:
    clip = write_clip(tmp_path / "a.mp4", busy_frames(count), fps=fps)
    before = probe_clip(clip)
    fitted = fit_to_limit(clip, before.file_bytes // 4)
    after = probe_clip(fitted.path)
    assert (after.frames, after.fps) == (before.frames, before.fps) == (count, fps)
    assert watch_video(fitted.path).duration_s == pytest.approx(count / fps, abs=0.002)


def test_the_colours_are_tagged_as_before(clip: Path) -> None:
    import av

    fitted = fit_to_limit(clip, int(clip.stat().st_size * 0.045))
    tags = []
    for path in (clip, fitted.path):
        with av.open(str(path)) as container:
            context = container.streams.video[0].codec_context
            tags.append((context.color_range, context.colorspace, context.color_primaries))
    assert tags[0] == tags[1] == (1, 1, 1)  # limited range, BT.709


def test_sides_stay_even_and_large_enough() -> None:
    assert sizes(1024, 576)[:3] == [(1024, 576), (768, 432), (512, 288)]
    assert all(w % 2 == h % 2 == 0 and min(w, h) >= 32 for w, h in sizes(318, 322))
    assert sizes(16, 16) == [(16, 16)]


def test_work_that_is_broken_off_leaves_nothing(tmp_path: Path) -> None:
    clip = write_clip(tmp_path / "a.mp4")
    calls = 0

    def check() -> None:
        nonlocal calls
        calls += 1
        if calls == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fit_to_limit(clip, clip.stat().st_size // 2, check=check)
    assert names(tmp_path) == {"a.mp4"}


def test_what_is_no_clip_is_refused(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        fit_to_limit(tmp_path / "gone.mp4", 1000)
    (tmp_path / "text.mp4").write_text("no video " * 100)
    with pytest.raises(EncodeError, match=r"text\.mp4"):
        fit_to_limit(tmp_path / "text.mp4", 100)
    with pytest.raises(ValueError, match="limit_bytes"):
        fit_to_limit(tmp_path / "text.mp4", 0)


def test_a_disk_that_fills_up_meanwhile_is_told_and_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clip = write_clip(tmp_path / "a.mp4", np.ascontiguousarray(busy_frames()))
    program = tmp_path / "bin" / "ffmpeg"
    program.parent.mkdir()
    script = "open(sys.argv[-1], 'w').write('half'); sys.exit('av: No space left on device')"
    program.write_text(f"#!{sys.executable}\nimport sys\n{script}\n")
    program.chmod(0o755)
    monkeypatch.setenv("IMAGEIO_FFMPEG_EXE", str(program))
    with pytest.raises(OSError, match="No space left") as caught:
        fit_to_limit(clip, clip.stat().st_size // 2)
    assert caught.value.errno == errno.ENOSPC
    assert names(tmp_path) == {"a.mp4", "bin"}
