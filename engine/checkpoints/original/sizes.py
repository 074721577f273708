"""Clip sizes that a converted model is offered for."""

from __future__ import annotations

from itertools import product
from typing import Final

_SHORTEST: Final = 256  # pixels; VideoCrafter1's training began at 256x256, below it saw nothing
_WIDEST: Final = 2  # long side to short side


def working_sizes(width: int, height: int, divisor: int) -> tuple[tuple[int, int], ...]:
    """The (width, height) pairs in pixels that a model makes well, the largest first.

    Both sides are multiples of the divisor, at least 256 pixels (or the native short side, where
    that is shorter) and no longer than the native long side; a clip has no more pixels than a
    native one and is at most twice as long as wide. So every size fits where the native one does,
    and lies within what the model has seen in training.

    Args:
        width: of a native clip.
        height: of a native clip.
        divisor: of both sides, from the UNet's and the autoencoder's downsampling.
    """
    shortest = max(min(_SHORTEST, width, height) // divisor, 1) * divisor
    sides = range(shortest, max(width, height) + 1, divisor)
    fitting = [
        (w, h)
        for w, h in product(sides, sides)
        if w * h <= width * height and max(w, h) <= _WIDEST * min(w, h)
    ]
    return tuple(sorted(fitting, key=lambda size: (-size[0] * size[1], -size[0])))
