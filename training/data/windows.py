"""Windows of frames: which stride, from where, and what frame rate the model is told."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from training.data.config import WindowConfig
from training.data.errors import SampleError


@dataclass(frozen=True, slots=True)
class Window:
    """Every ``stride``-th frame from ``start`` on; ``fps`` is the label."""

    start: int
    stride: int
    frames: int
    fps: float

    @property
    def indices(self) -> range:
        """The frames taken, as numbers in the clip."""
        return range(self.start, self.start + self.frames * self.stride, self.stride)


def draw_window(
    available: int, native_fps: float, config: WindowConfig, rng: np.random.Generator
) -> Window:
    """Draw a stride, uniform up to what the clip's length allows, and a start, uniform.

    The label is ``native_fps / stride``, changed by up to ``config.fps_jitter`` of itself.

    Args:
        available: frames of the clip.
        native_fps: its frames per second.
        config: lengths and limits.
        rng: the only source of randomness.

    Raises:
        SampleError: the clip is too short for the smallest stride.
    """
    fitting = (available - 1) // (config.frames - 1) if config.frames > 1 else config.max_stride
    longest = min(config.max_stride, fitting)
    if available < 1 or longest < config.min_stride:
        needed = (config.frames - 1) * config.min_stride + 1
        raise SampleError("too short", f"{available} frames, {needed} are needed")
    stride = int(rng.integers(config.min_stride, longest + 1))
    span = (config.frames - 1) * stride + 1
    start = int(rng.integers(available - span + 1))
    change = 1 + config.fps_jitter * float(rng.uniform(-1, 1))
    return Window(start, stride, config.frames, native_fps / stride * change)
