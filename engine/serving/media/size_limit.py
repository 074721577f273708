"""A finished clip made small enough to be uploaded."""

from __future__ import annotations

import math
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from engine.serving.cancellation import Check, no_check
from engine.serving.media.ffmpeg import H264, as_input, run_ffmpeg
from engine.serving.media.probe import ClipFacts, probe_clip
from engine.serving.media.size_search import (
    CannotFitError,
    EncodedClip,
    How,
    check_limit,
    largest_fitting,
    sizes,
)

BEST_CRF: Final = 17
WORST_CRF: Final = 30
"""The range of H.264 quality that is tried before anything else is given up."""

_CRF_FOR_HALF: Final = 6
"""x264 documents that about six steps of CRF halve the file."""

_LEAST_SHARE: Final = 0.5
"""Of the bits that the worst quality takes; with fewer a smaller picture looks better."""

_BITRATE_TRIES: Final = 3
_MARGIN: Final = 0.97
_LEAST_RATE: Final = 1000

CRFS: Final = tuple(range(BEST_CRF, WORST_CRF + 1))


def fitted_path(source: Path) -> Path:
    """Return the path of a clip's smaller version: `<job>.fit.mp4` beside it."""
    return source.with_name(f"{source.stem}.fit.mp4")


def fit_to_limit(source: Path, limit_bytes: int, *, check: Check = no_check) -> EncodedClip:
    """Make a version of a clip that has at most so many bytes; the clip itself is never changed.

    A clip that fits is returned as it is. Else quality is given up first: the best CRF of 17 to 30
    that fits. Then bitrate: two passes aimed at the limit, as long as half of the bits of CRF 30
    remain. Then size, in steps down to a sixteenth, each with the same two ways. Every file is
    measured. Frame rate and length stay. The same clip and limit give the same bytes.

    Args:
        source: an MP4 of `encode_mp4`.
        limit_bytes: what may be uploaded, at least 1.
        check: called while ffmpeg runs; what it raises ends the work and leaves nothing.

    Returns:
        The clip itself, or `<job>.fit.mp4` beside it, which appears complete or not at all.

    Raises:
        ValueError: the limit is below 1.
        CannotFitError: even the smallest is too large.
        EncoderMissingError: there is no ffmpeg, or it has no libx264.
        EncodeError: the clip cannot be read, or ffmpeg failed.
        OSError: there is no such clip, or the disk is full (ENOSPC).
    """
    check_limit(limit_bytes)
    facts = probe_clip(source)
    if facts.file_bytes <= limit_bytes:
        return EncodedClip(
            source, facts.file_bytes, "as_is", facts.width, facts.height, "the clip itself"
        )
    # Beside the clip, so that the finished file only has to be renamed.
    with tempfile.TemporaryDirectory(
        prefix=".fit-", dir=source.parent, ignore_cleanup_errors=True
    ) as folder:
        search = _Search(source, facts, limit_bytes, Path(folder), check)
        smallest = facts.file_bytes
        for width, height in sizes(facts.width, facts.height):
            found = search.at_size(width, height)
            if isinstance(found, EncodedClip):
                target = fitted_path(source)
                shutil.copymode(source, found.path)  # who may see the clip may see this
                os.replace(found.path, target)
                return EncodedClip(
                    target, found.bytes, found.how, found.width, found.height, found.detail
                )
            smallest = min(smallest, found)
    raise CannotFitError(limit_bytes, smallest)


class _Search:
    """The attempts for one clip and one limit, in a folder of their own."""

    def __init__(
        self, source: Path, facts: ClipFacts, limit_bytes: int, folder: Path, check: Check
    ) -> None:
        self._source = source
        self._facts = facts
        self._limit = limit_bytes
        self._folder = folder
        self._check = check

    def at_size(self, width: int, height: int) -> EncodedClip | int:
        """The best version of a size that fits, or the bytes of the smallest."""

        def by_quality(crf: int) -> Path:
            return self._encode(width, height, f"crf{crf}", "-crf", str(crf))

        whole = (width, height) == (self._facts.width, self._facts.height)
        found = largest_fitting(CRFS, self._likely_crf(width, height), by_quality, self._limit)
        if isinstance(found, tuple):
            crf, path = found
            return EncodedClip(
                path,
                path.stat().st_size,
                "quality" if whole else "size",
                width,
                height,
                f"CRF {crf}",
            )
        worst = probe_clip(found)
        smallest = worst.file_bytes
        if self._limit >= _LEAST_SHARE * smallest:
            for rate, path in self._by_bitrate(width, height, worst):
                size = path.stat().st_size
                if size <= self._limit:
                    how: How = "bitrate" if whole else "size"
                    return EncodedClip(path, size, how, width, height, f"{rate:,} bit/s")
                smallest = min(smallest, size)
        return smallest

    def _likely_crf(self, width: int, height: int) -> int:
        """Index of the CRF that should fit, if the source was encoded with the engine's default."""
        pixels = width * height / (self._facts.width * self._facts.height)
        excess = math.log2(self._facts.file_bytes * pixels / self._limit)
        return min(max(0, math.ceil(_CRF_FOR_HALF * excess)), len(CRFS) - 1)

    def _by_bitrate(self, width: int, height: int, worst: ClipFacts) -> Iterator[tuple[int, Path]]:
        """Bitrates (bit/s) that aim at the limit, each corrected by what the last one gave."""
        overhead = worst.file_bytes - worst.video_bytes
        room = self._limit - overhead
        rate = room * _MARGIN * 8 / self._facts.duration_s
        for _ in range(_BITRATE_TRIES):
            if rate < _LEAST_RATE:
                return
            path = self._two_passes(width, height, int(rate))
            yield int(rate), path
            rate *= _MARGIN * room / max(1, path.stat().st_size - overhead)

    def _two_passes(self, width: int, height: int, rate: int) -> Path:
        log = os.path.abspath(self._folder / "passes")
        for turn in ("1", "2"):
            path = self._encode(
                width, height, "rate", "-b:v", str(rate), "-pass", turn, "-passlogfile", log
            )
        return path

    def _encode(self, width: int, height: int, name: str, *rate: str) -> Path:
        path = self._folder / f"{width}x{height}-{name}.mp4"
        scale: list[str] = []
        if (width, height) != (self._facts.width, self._facts.height):
            scale = ["-vf", f"scale={width}:{height}:flags=lanczos+accurate_rnd"]
        run_ffmpeg(
            [
                *as_input(self._source, "mp4"),
                *("-map", "0:v:0", "-map_metadata", "0"),
                *scale,
                *("-c:v", H264, "-preset", "medium", *rate),
                *("-pix_fmt", "yuv420p", "-fps_mode", "passthrough", "-movflags", "+faststart"),
                *("-f", "mp4"),
            ],
            path,
            check=self._check,
        )
        return path
