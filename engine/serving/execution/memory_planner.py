"""Plan batches and sizes by what a device has memory for, as far as it is known."""

from __future__ import annotations

import logging
from collections.abc import Callable, Hashable
from typing import Final, Literal

from engine.checkpoints.catalog import ModelCard
from engine.checkpoints.errors import ModelLoadError
from engine.serving.backends import BackendRegistry, default_backends
from engine.serving.execution.model_memory import device_memory
from engine.serving.request import ResolvedSettings, Size
from engine.serving.scheduling.scheduler import batch_key

logger = logging.getLogger(__name__)

MOST: Final = 8
"""Clips of a batch under "auto": more only make each of them wait for the others."""

_USABLE: Final = 0.9


class MemoryPlanner:
    """Batch sizes, shapes that need low memory, and sizes that have worked, on one device.

    It learns from what was rendered, and is told when memory ran out.

    Args:
        device: a torch device name.
        max_batch: of the settings.
        missing_bytes: tells what a model's weights will take on top of what they take now.
        free_bytes: tells what is free on the device.
        backends: the model families.
    """

    def __init__(
        self,
        device: str,
        max_batch: int | Literal["auto"],
        missing_bytes: Callable[[ModelCard], int],
        free_bytes: Callable[[], int] | None = None,
        backends: BackendRegistry | None = None,
    ) -> None:
        self._device = device
        self._max_batch = max_batch
        self._missing_bytes = missing_bytes
        self._free_bytes = free_bytes or (lambda: device_memory(device)[0])
        self._backends = backends or default_backends()
        self._measured: dict[Hashable, int] = {}
        self._most: dict[Hashable, int] = {}
        self._low_memory: set[Hashable] = set()
        self._worked: dict[str, dict[Size, int]] = {}

    def max_batch(self, settings: ResolvedSettings) -> int:
        """Return how many such clips may be sampled together, at least 1."""
        if not self._can_batch(settings.model):
            return 1
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
        each = self._measured.get(key) or self._guess(settings)
        return max(1, min(limit, int(_USABLE * free / max(1, each))))

    def record_success(
        self, settings: ResolvedSettings, count: int, peak_bytes: int | None = None
    ) -> None:
        """Learn that so many clips fitted, and the memory that they took beside the weights."""
        if peak_bytes:
            self._measured[batch_key(settings)] = max(1, peak_bytes // count)
        frames = self._worked.setdefault(settings.model.name, {})
        size = (settings.params.width, settings.params.height)
        frames[size] = max(frames.get(size, 0), settings.params.num_frames)

    def record_oom(self, settings: ResolvedSettings, count: int) -> None:
        """Learn that so many clips did not fit; half of them are the most from now on."""
        self._most[batch_key(settings)] = max(1, count // 2)

    def requires_low_memory(self, settings: ResolvedSettings) -> bool:
        """Return True if a single clip of this shape is known not to fit in the usual way."""
        return batch_key(settings) in self._low_memory

    def record_low_memory(self, settings: ResolvedSettings) -> None:
        """Learn that a single clip of this shape has to be made with least memory."""
        self._low_memory.add(batch_key(settings))
        self._most[batch_key(settings)] = 1

    def suggest_smaller(self, settings: ResolvedSettings) -> str:
        """Return one sentence on what to ask for instead of a clip that did not fit.

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

    def _can_batch(self, card: ModelCard) -> bool:
        """Return True if clips can share a run; each of them must be able to leave it."""
        try:
            supports = self._backends.of(card).supports(card)
        except ModelLoadError:
            return False
        return supports.batches and supports.cancel_per_step

    def _guess(self, settings: ResolvedSettings) -> int:
        return self._backends.of(settings.model).clip_bytes(settings.model, settings.params)


def _pixels(size: Size) -> int:
    return size[0] * size[1]
