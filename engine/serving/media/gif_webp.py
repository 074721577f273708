"""A finished clip as an animated GIF or WebP."""

from __future__ import annotations

import math
import os
import shutil
import tempfile
from pathlib import Path
from typing import Final, Literal, get_args

from engine.serving.cancellation import Check, no_check
from engine.serving.media.ffmpeg import as_input, find_ffmpeg, run_ffmpeg
from engine.serving.media.probe import ClipFacts, probe_clip
from engine.serving.media.size_search import (
    CannotFitError,
    EncodedClip,
    How,
    check_limit,
    largest_fitting,
    sizes,
)

ClipFormat = Literal["gif", "webp"]

GIF_COLOURS: Final = (256, 128, 64, 32)
WEBP_QUALITIES: Final = (90, 80, 70, 60, 50, 40)

_ENCODERS: Final = {"gif": "gif", "webp": "libwebp_anim"}

_MAX_GIF_FPS: Final = 50
"""A GIF counts in hundredths of a second, and players slow down what is faster than 2 of them."""


def converted_path(source: Path, to: ClipFormat) -> Path:
    """Return the path of a converted clip: `<job>.gif` or `<job>.webp` beside it."""
    return source.with_suffix(f".{to}")


def convert_clip(
    source: Path, to: ClipFormat, limit_bytes: int | None = None, *, check: Check = no_check
) -> EncodedClip:
    """Convert a clip, as well as the limit allows; the clip itself is never changed.

    A GIF gets a palette of the clip's own colours (256, then fewer), dithered in a pattern that
    stays in place; a WebP is lossy of quality 90, then less. Where that is not enough the size goes
    down in steps. Both repeat for ever and keep the clip's length; a GIF of more than 50 frames a
    second leaves some out. The same clip, format and limit give the same bytes.

    Args:
        source: an MP4 of `encode_mp4`.
        to: "gif" or "webp".
        limit_bytes: what the file may have; None for no limit.
        check: called while ffmpeg runs; what it raises ends the work and leaves nothing.

    Returns:
        The file beside the clip, see `converted_path`; it appears complete or not at all.

    Raises:
        ValueError: another format, or a limit below 1.
        CannotFitError: even the smallest is too large.
        EncoderMissingError: there is no ffmpeg, or it lacks the format's encoder.
        EncodeError: the clip cannot be read, or ffmpeg failed.
        OSError: there is no such clip, or the disk is full (ENOSPC).
    """
    if to not in get_args(ClipFormat):
        raise ValueError(f"to: one of {', '.join(get_args(ClipFormat))}, got {to!r}")
    limit = math.inf if limit_bytes is None else limit_bytes
    check_limit(limit)
    find_ffmpeg(_ENCODERS[to])
    facts = probe_clip(source)
    levels = GIF_COLOURS if to == "gif" else WEBP_QUALITIES
    smallest = 0
    with tempfile.TemporaryDirectory(
        prefix=".fit-", dir=source.parent, ignore_cleanup_errors=True
    ) as folder:
        for width, height in sizes(facts.width, facts.height):
            scale = f"scale={width}:{height}:flags=lanczos+accurate_rnd"

            def encode(level: int, scale: str = scale) -> Path:
                path = Path(folder) / f"{level}.{to}"
                output = _gif(scale, level, facts) if to == "gif" else _webp(scale, level)
                arguments = [*as_input(source, "mp4"), *output, "-f", to]
                run_ffmpeg(arguments, path, encoder=_ENCODERS[to], check=check)
                return path

            found = largest_fitting(levels, 0, encode, limit)
            if isinstance(found, tuple):
                level, path = found
                target = converted_path(source, to)
                shutil.copymode(source, path)  # who may see the clip may see this
                os.replace(path, target)
                how: How = "quality" if (width, height) == (facts.width, facts.height) else "size"
                detail = f"{level} colours" if to == "gif" else f"quality {level}"
                size = target.stat().st_size
                return EncodedClip(target, size, how, width, height, detail)
            smallest = found.stat().st_size
            found.unlink()
    raise CannotFitError(int(limit), smallest)


def _gif(scale: str, colours: int, facts: ClipFacts) -> list[str]:
    rate = f"fps='min(source_fps,{_MAX_GIF_FPS})'"
    if facts.duration_s * _MAX_GIF_FPS < 1:
        # So short that the rate would leave out every frame.
        rate = f"tpad=stop_mode=clone:stop_duration=1,fps={_MAX_GIF_FPS},trim=end_frame=1"
    chain = (
        f"[0:v]{rate},{scale},split[a][b];"
        f"[a]palettegen=max_colors={colours}:stats_mode=full:reserve_transparent=0[p];"
        "[b][p]paletteuse=dither=bayer:bayer_scale=4:diff_mode=rectangle"
    )
    return ["-filter_complex", chain, "-loop", "0"]


def _webp(scale: str, quality: int) -> list[str]:
    # A WebP has no tag for its colours: players take them for BT.601.
    colours = "full_chroma_int+full_chroma_inp:out_color_matrix=bt601:out_range=tv"
    encoder = ["-c:v", "libwebp_anim", "-lossless", "0", "-compression_level", "4"]
    chain = f"{scale}+{colours},format=yuv420p"
    return ["-map", "0:v:0", "-vf", chain, *encoder, "-quality", str(quality), "-loop", "0"]
