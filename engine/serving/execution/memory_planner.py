"""What a device has memory for, as far as it is known."""

from __future__ import annotations

import logging
from collections.abc import Callable, Hashable
from typing import Final, Literal

from engine.checkpoints.catalog import ModelCard
from engine.checkpoints.errors import ModelLoadError
from engine.checkpoints.folder.weights import read_json_object
from engine.serving.execution.model_memory import device_memory
from engine.serving.request import ResolvedSettings, Size
from engine.serving.scheduling.scheduler import batch_key

logger = logging.getLogger(__name__)

MOST: Final = 8
"""Clips of a batch under "auto": more only make each of them wait for the others."""

_USABLE: Final = 0.9
_CHANNELS: Final = 320
_PIXELS_A_POSITION: Final = 8 * 8
_COPIES: Final = 32
_BYTES: Final = 4


def estimated_bytes(settings: ResolvedSettings) -> int:
    """What a clip of a batch adds to the memory that sampling takes: a cautious guess.

    The UNet of t2v-1024 in float32 was seen to take 3.4 GB beside its weights for 16 frames of
    1024 x 576 pixels on a CPU: 18 times the features of its first level (320 channels for each of
    147,456 positions of the latent). A GPU may compute in larger parts: the guess is 32 times, in
    float32 whatever the format, and twice that with guidance. It only serves until a clip of the
    shape has been made and measured.
    """
    try:
        config = read_json_object(settings.model.path / "unet" / "config.json")
    except ModelLoadError:
        config = {}
    width = config.get("model_channels")
    channels = width if isinstance(width, int) else _CHANNELS
    params = settings.params
    positions = params.num_frames * params.width * params.height / _PIXELS_A_POSITION
    halves = 2 if params.guidance != 1 else 1
    return int(positions * halves * channels * _COPIES * _BYTES)


class Capacity:
    """Batch sizes, shapes that need the frugal way, and sizes that have worked, on one device.

    It learns from what was rendered, and is told when memory ran out.

    Args:
        device: a torch device name.
        max_batch: of the settings.
        missing_bytes: tells what a model's weights will take on top of what they take now.
        free_bytes: tells what is free on the device.
    """

    def __init__(
        self,
        device: str,
        max_batch: int | Literal["auto"],
        missing_bytes: Callable[[ModelCard], int],
        free_bytes: Callable[[], int] | None = None,
    ) -> None:
        self._device = device
        self._max_batch = max_batch
        self._missing_bytes = missing_bytes
        self._free_bytes = free_bytes or (lambda: device_memory(device)[0])
        self._measured: dict[Hashable, int] = {}
        self._most: dict[Hashable, int] = {}
        self._tight: set[Hashable] = set()
        self._worked: dict[str, dict[Size, int]] = {}

    def max_batch(self, settings: ResolvedSettings) -> int:
        """How many such clips may be sampled together, at least 1."""
        gpu = self._device.startswith("cuda")
        if self._max_batch == "auto":
            limit = MOST if gpu else 1
        else:
            limit = self._max_batch
        key = batch_key(settings)
        limit = min(limit, self._most.get(key, limit))
        if limit == 1 or not gpu:
            return limit
        try:
            free = self._free_bytes() - self._missing_bytes(settings.model)
        except ModelLoadError:
            return 1
        each = self._measured.get(key) or estimated_bytes(settings)
        return max(1, min(limit, int(_USABLE * free / max(1, each))))

    def made(self, settings: ResolvedSettings, count: int, peak_bytes: int | None = None) -> None:
        """So many clips were sampled together, and took so much memory beside the weights."""
        if peak_bytes:
            self._measured[batch_key(settings)] = max(1, peak_bytes // count)
        frames = self._worked.setdefault(settings.model.name, {})
        size = (settings.params.width, settings.params.height)
        frames[size] = max(frames.get(size, 0), settings.params.num_frames)

    def too_many(self, settings: ResolvedSettings, count: int) -> None:
        """So many clips were too many; half of them are the most from now on."""
        self._most[batch_key(settings)] = max(1, count // 2)

    def is_tight(self, settings: ResolvedSettings) -> bool:
        """Whether a clip of this shape is known to need the frugal way."""
        return batch_key(settings) in self._tight

    def needs_frugal(self, settings: ResolvedSettings) -> None:
        """A single clip of this shape only fitted in the frugal way."""
        self._tight.add(batch_key(settings))
        self._most[batch_key(settings)] = 1

    def smaller(self, settings: ResolvedSettings) -> str:
        """One sentence on what to ask for instead of a clip that did not fit.

        A size that has worked here is told as such; others are told by their pixels, which memory
        grows with, and promise nothing.
        """
        card, params = settings.model, settings.params
        asked = params.width * params.height
        sizes = [size for size in card.sizes if size[0] * size[1] < asked]
        worked = self._worked.get(card.name, {})
        proven = [size for size in sizes if worked.get(size, 0) >= params.num_frames]
        what = f"{params.width}x{params.height} with {params.num_frames} frames is too large"
        if proven:
            width, height = max(proven, key=_pixels)
            return f"{what}; {width}x{height} has worked here and should fit."
        if sizes:
            half = [size for size in sizes if 2 * _pixels(size) <= asked]
            width, height = max(half, key=_pixels) if half else min(sizes, key=_pixels)
            share = round(100 * width * height / asked)
            return f"{what}; {width}x{height} has {share} % of the pixels and may fit."
        if params.num_frames > 1:
            return f"{what}; {params.num_frames // 2} frames need about half and may fit."
        return f"{what}, and there is no smaller size."


def _pixels(size: Size) -> int:
    return size[0] * size[1]
