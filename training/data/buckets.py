"""Aspect-ratio buckets: sizes of about the same area that batches come in."""

from __future__ import annotations

import math
from dataclasses import dataclass

from training.data.config import ResolutionConfig


@dataclass(frozen=True, slots=True, order=True)
class Bucket:
    """A size in pixels; all samples of a batch are cropped to it."""

    width: int
    height: int

    def __str__(self) -> str:
        return f"{self.width}x{self.height}"


class Buckets:
    """The sizes of a stage, and which of them a sample belongs to.

    With ``config.buckets`` these are all sides in multiples of ``config.multiple`` with the other
    side that comes nearest to the area ``width x height``, wide and upright, up to
    ``config.max_aspect``. The stated size is always one of them, even where it is no such multiple.
    """

    def __init__(self, config: ResolutionConfig) -> None:
        stated = Bucket(config.width, config.height)
        found = {stated}
        if config.buckets:
            area, step = config.width * config.height, config.multiple
            longest = math.ceil(math.sqrt(area * config.max_aspect)) + step
            for side in range(step, longest + 1, step):
                other = max(step, round(area / side / step) * step)
                narrow = max(side, other) > config.max_aspect * min(side, other)
                if not narrow:
                    found |= {Bucket(side, other), Bucket(other, side)}
            # The stated size stands for its own aspect.
            found = {b for b in found if b.width * stated.height != b.height * stated.width}
            found.add(stated)
        self.sizes: tuple[Bucket, ...] = tuple(sorted(found))

    def nearest(self, width: int, height: int) -> Bucket:
        """The size whose aspect is nearest to that of a sample of ``width x height`` pixels.

        Nearest is meant on a logarithmic scale, so that upright and wide are treated alike.
        """
        aspect = math.log(width / height)
        return min(self.sizes, key=lambda size: abs(math.log(size.width / size.height) - aspect))


def enlargement(width: int, height: int, bucket: Bucket) -> float:
    """By which factor a sample has to be enlarged to fill the bucket; below 1 it is reduced."""
    return max(bucket.width / width, bucket.height / height)
