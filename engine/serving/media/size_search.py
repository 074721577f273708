"""Size search: the best quality level whose file is not too large."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Final, Literal, TypeVar

from engine.errors import EngineError

How = Literal["as_is", "quality", "bitrate", "size"]

SCALES: Final = tuple(
    Fraction(scale) for scale in ("1", "3/4", "1/2", "3/8", "1/4", "3/16", "1/8", "1/16")
)
"""Factors by which a clip is reduced, both sides alike, until it fits."""

_SMALLEST_SIDE: Final = 32

Level = TypeVar("Level")


@dataclass(frozen=True, slots=True)
class EncodedClip:
    """A file that is not larger than it may be.

    Attributes:
        path: the file; for `how` "as_is" the one that was given.
        bytes: its size.
        how: what was given up: nothing, quality alone, quality down to a bitrate, or the size.
        width: pixels.
        height: pixels.
        detail: the encoder's setting, for the log.
    """

    path: Path
    bytes: int
    how: How
    width: int
    height: int
    detail: str


class CannotFitError(EngineError, ValueError):
    """Even the smallest and plainest file is larger than the limit.

    Attributes:
        limit_bytes: what was allowed.
        smallest_bytes: the smallest that could be made.
    """

    def __init__(self, limit_bytes: int, smallest_bytes: int) -> None:
        self.limit_bytes = limit_bytes
        self.smallest_bytes = smallest_bytes
        super().__init__(
            f"The clip cannot be made smaller than {smallest_bytes:,} bytes; "
            f"{limit_bytes:,} are allowed."
        )


def check_limit(limit_bytes: float) -> None:
    """Raise if a limit is no size.

    Raises:
        ValueError: less than one byte.
    """
    if limit_bytes < 1:
        raise ValueError(f"limit_bytes: at least 1, got {limit_bytes}")


def sizes(width: int, height: int) -> list[tuple[int, int]]:
    """The sizes to try, the clip's own first; even sides, none below 32 pixels but its own."""
    tried = [(width, height)]
    for scale in SCALES[1:]:
        size = (_even(width * scale), _even(height * scale))
        if min(size) >= _SMALLEST_SIDE:
            tried.append(size)
    return list(dict.fromkeys(tried))


def largest_fitting(
    levels: Sequence[Level], first: int, encode: Callable[[Level], Path], limit_bytes: float
) -> tuple[Level, Path] | Path:
    """Bisect quality levels whose files shrink from level to level.

    Files that are larger, or worse than another that fits, are removed.

    Args:
        levels: best first.
        first: index of the level that is likely to fit.
        encode: makes the file of a level.
        limit_bytes: what the file may have.

    Returns:
        The best level that fits and its file; or the file of the last level, when none fits.
    """
    best: tuple[Level, Path] | None = None
    last: Path | None = None
    low, high, at = 0, len(levels) - 1, first
    while low <= high:
        made = encode(levels[at])
        if made.stat().st_size <= limit_bytes:
            if best is not None:
                best[1].unlink()
            best, high = (levels[at], made), at - 1
        else:
            if last is not None:
                last.unlink()
            last, low = made, at + 1
        at = (low + high) // 2
    if best is None:
        assert last is not None, "there are levels"
        return last
    if last is not None:
        last.unlink()
    return best


def _even(length: Fraction) -> int:
    return int(length / 2) * 2
