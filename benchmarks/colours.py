"""The errors of colours, from files of other programs to pixels, and from pixels to our files."""

from __future__ import annotations

import io
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from PIL import Image

from benchmarks.colour_cases import (
    CLIPS,
    COLOURS,
    PRIMARIES,
    icc_profile,
    largest_error,
    largest_mean_error,
    meant_in_srgb,
    patches,
    picture_file,
    write_tagged,
)
from engine.serving.media.gif_webp import ClipFormat, convert_clip
from engine.serving.media.input_images import decode_picture
from engine.serving.media.mp4 import encode_mp4
from engine.serving.media.size_limit import fit_to_limit
from training.data.video import read_frames


def main() -> None:
    """Print a table: what was read or written, and the largest error of any channel, in levels."""
    print("| what | levels |\n|---|---|")
    with tempfile.TemporaryDirectory() as folder:
        for rows in (clips_read(Path(folder)), clips_written(Path(folder)), pictures_read()):
            for name, error in rows:
                print(f"| {name} | {error} |", flush=True)


def clips_read(folder: Path) -> Iterator[tuple[str, int]]:
    """Errors of training clips, by container, matrix, range, tag and size."""
    for case in CLIPS:
        path = write_tagged(folder / f"clip.{case.ending}", case)
        shown = next(read_frames(io.BytesIO(path.read_bytes()), [1]))
        yield f"read {case}", largest_error(shown, patches(case.width, case.height))


def clips_written(folder: Path) -> Iterator[tuple[str, int]]:
    """Errors of the clips that are handed out, by format."""
    meant = patches()
    frames = np.stack([meant] * 3)
    frames[1:, :4, :4] = 255 - frames[1:, :4, :4]  # something that moves, or it is a still picture
    clip = folder / "job.mp4"
    encode_mp4(frames, clip, fps=8, crf=6, min_short_side=2, comment="")
    yield "write mp4", _of_video(clip)
    fitted = fit_to_limit(clip, clip.stat().st_size - 1)
    yield f"write mp4, {fitted.how}: {fitted.detail}", _of_video(fitted.path)
    formats: tuple[ClipFormat, ...] = ("gif", "webp")
    for form in formats:
        with Image.open(convert_clip(clip, form).path) as animation:
            shown = np.asarray(animation.convert("RGB"))
            yield f"write {form} (means of patches)", largest_mean_error(shown, meant)

    worst = dict.fromkeys(formats, 0)
    for number, colour in enumerate(COLOURS):
        frames = np.empty((2, 64, 64, 3), np.uint8)
        frames[:] = colour
        frames[1:, :2, :2] = 255 - frames[1:, :2, :2]
        clip = folder / f"{number}.mp4"
        encode_mp4(frames, clip, fps=8, crf=6, min_short_side=2, comment="")
        for form in formats:
            with Image.open(convert_clip(clip, form).path) as animation:
                shown = np.asarray(animation.convert("RGB"))
            worst[form] = max(worst[form], largest_error(shown, frames[0]))
    for form in formats:
        yield f"write {form}, each colour alone", worst[form]


def _of_video(path: Path) -> int:
    shown = next(read_frames(io.BytesIO(path.read_bytes()), [0]))
    return largest_error(shown, patches())


def pictures_read() -> Iterator[tuple[str, int]]:
    """Errors of pictures, by format and profile."""
    pixels = patches()
    for kind in ("PNG", "JPEG", "WEBP", "TIFF"):
        for space in PRIMARIES:
            data = picture_file(pixels, kind, icc_profile=icc_profile(space))
            error = largest_error(np.asarray(decode_picture(data)), meant_in_srgb(pixels, space))
            yield f"read {kind}, {space}", error
    for kind in ("PNG", "JPEG", "WEBP", "TIFF", "BMP"):
        data = picture_file(pixels, kind)
        yield f"read {kind}, no profile", largest_error(np.asarray(decode_picture(data)), pixels)


if __name__ == "__main__":
    main()
