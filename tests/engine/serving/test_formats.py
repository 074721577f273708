"""GIF and WebP, read back with another library than the one that wrote them."""

from pathlib import Path

import pytest

from engine.serving.media.gif_webp import ClipFormat, convert_clip
from engine.serving.media.size_search import CannotFitError
from tests.engine.serving.clips import (
    Video,
    busy_frames,
    psnr_db,
    watch_animation,
    watch_video,
    write_clip,
)


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_clip(tmp_path_factory.mktemp("clips") / "job.mp4", busy_frames(noise=6))


@pytest.fixture(scope="module")
def original(clip: Path) -> Video:
    return watch_video(clip)


@pytest.mark.parametrize(("to", "faithful_db"), [("gif", 27), ("webp", 27)])
def test_the_animation_shows_the_clip(
    clip: Path, original: Video, to: ClipFormat, faithful_db: float
) -> None:
    before = clip.read_bytes()
    made = convert_clip(clip, to)
    assert made.path == clip.with_suffix(f".{to}")
    assert made.bytes == made.path.stat().st_size
    frames, lasts, loop = watch_animation(made.path)
    assert frames.shape == original.frames.shape
    assert psnr_db(frames, original.frames) > faithful_db
    assert sum(lasts) == pytest.approx(1000, abs=15)  # a GIF counts in hundredths
    assert max(lasts) - min(lasts) <= 10
    assert loop == 0
    assert clip.read_bytes() == before


@pytest.mark.parametrize("to", ["gif", "webp"])
def test_limits_are_kept_by_quality_and_then_by_size(clip: Path, to: ClipFormat) -> None:
    best = convert_clip(clip, to)
    plainer = convert_clip(clip, to, int(best.bytes * 0.75))
    assert plainer.bytes <= best.bytes * 0.75
    assert (plainer.how, plainer.width) == ("quality", 128)
    assert plainer.detail != best.detail
    smaller = convert_clip(clip, to, best.bytes // 6)
    assert smaller.bytes <= best.bytes // 6
    assert smaller.how == "size"
    frames, lasts, _ = watch_animation(smaller.path)
    assert frames.shape[1:3] == (smaller.height, smaller.width)
    assert smaller.width < 128
    assert sum(lasts) == pytest.approx(1000, abs=15)
    with pytest.raises(CannotFitError, match="100 are allowed"):
        convert_clip(clip, to, 100)
    assert {path.suffix for path in clip.parent.iterdir()} <= {".mp4", ".gif", ".webp"}


@pytest.mark.parametrize("to", ["gif", "webp"])
def test_equal_clips_give_equal_animations(clip: Path, to: ClipFormat) -> None:
    first = convert_clip(clip, to).path.read_bytes()
    assert convert_clip(clip, to).path.read_bytes() == first


def test_a_gif_has_no_more_frames_than_players_can_show(tmp_path: Path) -> None:
    clip = write_clip(tmp_path / "fast.mp4", busy_frames(30, 32, 32), fps=100)
    frames, lasts, _ = watch_animation(convert_clip(clip, "gif").path)
    assert min(lasts) == 20
    assert sum(lasts) == pytest.approx(300, abs=15)
    assert len(frames) == 15


@pytest.mark.parametrize("to", ["gif", "webp"])
def test_one_frame_is_enough(tmp_path: Path, to: ClipFormat) -> None:
    clip = write_clip(tmp_path / "one.mp4", busy_frames(1, 32, 32))
    assert convert_clip(clip, to).path.stat().st_size > 100


def test_other_formats_are_refused(clip: Path) -> None:
    with pytest.raises(ValueError, match="gif, webp"):
        convert_clip(clip, "avi")  # type: ignore[arg-type]
