"""Frames to an MP4 that plays everywhere: H.264, yuv420p, index first."""

from __future__ import annotations

import math
import re
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt

from common.atomic_write import atomic_path
from engine.serving.cancellation import Check, no_check
from engine.serving.media.ffmpeg import (
    H264,
    EncodeError,
    EncoderMissingError,
    as_input,
    find_ffmpeg,
    run_ffmpeg,
)

# Which end a line or a value in ffmpeg's metadata files, or begin a comment.
_SPECIAL: Final = re.compile(r"([=;#\\\n\r])")

__all__ = ["EncodeError", "EncoderMissingError", "encode_mp4", "enlargement", "find_ffmpeg"]


def enlargement(width: int, height: int, min_short_side: int) -> int:
    """The whole factor by which a clip is enlarged.

    It is the smallest that brings the short side to `min_short_side` pixels and, for clips that
    are enlarged at all, makes both sides even, as yuv420p needs.
    """
    factor = max(1, math.ceil(min_short_side / min(width, height)))
    if factor > 1 and (width * factor % 2 or height * factor % 2):
        factor += 1
    return factor


def encode_mp4(
    frames: npt.NDArray[np.uint8],
    path: Path,
    *,
    fps: int,
    crf: int,
    min_short_side: int,
    comment: str,
    check: Check = no_check,
) -> None:
    """Write a clip; the same arguments give the same bytes.

    Small clips are enlarged by a whole factor (Lanczos); of a large clip with an odd side the last
    row or column is left out. The file appears complete or not at all.

    Args:
        frames: [F, H, W, 3], RGB.
        path: the file to write; its folder exists. An older file is replaced.
        fps: frames per second of playback.
        crf: H.264 quality, 0 to 51, less is better.
        min_short_side: least pixels of the short side.
        comment: kept in the file's `comment` tag, without NUL characters. It is handed to
            ffmpeg in a file that others cannot read: everybody can read a command line.
        check: called while ffmpeg runs; when it raises, ffmpeg is killed and nothing is left.

    Raises:
        EncoderMissingError: there is no ffmpeg, or it has no libx264.
        EncodeError: ffmpeg failed.
        OSError: the file cannot be written; ENOSPC when the disk is full.
    """
    with atomic_path(path, unique=False) as part, _metadata_file(comment) as metadata:
        run_ffmpeg(
            [
                *_input_arguments(frames, fps),
                *as_input(metadata, "ffmetadata"),
                *("-map", "0:v:0", "-map_metadata", "1"),
                *_filter_arguments(frames.shape[2], frames.shape[1], min_short_side),
                *("-an", "-c:v", H264, "-preset", "medium", "-crf", str(crf)),
                *("-pix_fmt", "yuv420p", "-movflags", "+faststart"),
                *("-f", "mp4"),
            ],
            part,
            data=np.ascontiguousarray(frames).reshape(-1).data,
            check=check,
        )


@contextmanager
def _metadata_file(comment: str) -> Iterator[Path]:
    """Yield a file with the tag in ffmpeg's own format, which only this account can read."""
    escaped = _SPECIAL.sub(r"\\\1", comment.replace("\0", ""))
    descriptor, name = tempfile.mkstemp(prefix="floor33-")
    try:
        with open(descriptor, "wb") as file:
            # Without a last line break: behind a backslash, even one that is escaped, ffmpeg takes
            # it for a part of the value.
            file.write(f";FFMETADATA1\ncomment={escaped}".encode(errors="replace"))
        yield Path(name)
    finally:
        Path(name).unlink(missing_ok=True)


def _input_arguments(frames: npt.NDArray[np.uint8], fps: int) -> list[str]:
    height, width = frames.shape[1:3]
    size = f"{width}x{height}"
    raw = ["-f", "rawvideo", "-pix_fmt", "rgb24", "-s", size, "-r", str(fps)]
    return ["-protocol_whitelist", "pipe", *raw, "-i", "pipe:0"]


def _filter_arguments(width: int, height: int, min_short_side: int) -> list[str]:
    factor = enlargement(width, height, min_short_side)
    # Said both in the pixels and in the tags: players guess the colour matrix of untagged files.
    bt709 = "out_color_matrix=bt709:out_range=tv"
    filters = [
        f"crop={width - width * factor % 2}:{height - height * factor % 2}:0:0",
        f"scale=iw*{factor}:ih*{factor}:flags=lanczos+accurate_rnd+full_chroma_int:{bt709}",
        "setparams=range=tv:color_primaries=bt709:color_trc=bt709:colorspace=bt709",
    ]
    return ["-vf", ",".join(filters)]
