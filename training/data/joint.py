"""Joint training on clips and pictures (VideoCrafter1, section 3.1): one batch for every step."""

from __future__ import annotations

import math
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from types import TracebackType
from typing import Self

import torch
from torch import Tensor

from training.data.config import DataConfig, DataSetConfig, WindowConfig
from training.data.errors import DataError
from training.data.loader import BatchLoader
from training.data.order import DeterministicSampler
from training.data.reader import Clip, MediaReader
from training.data.sources import DataSource, open_source


@dataclass(frozen=True, slots=True)
class MediaBatch:
    """Samples of one size.

    ``frames [B, F, 3, H, W]`` in [-1, 1]; ``fps [B]`` holds the labels, 0 for pictures, whose
    ``F`` is 1 and for which the temporal layers are to be skipped.
    """

    frames: Tensor
    captions: tuple[str, ...]
    fps: Tensor
    keys: tuple[str, ...]

    @property
    def pictures(self) -> bool:
        """True if the samples are single pictures."""
        return bool((self.fps == 0).all())


def collate(clips: Sequence[Clip]) -> MediaBatch:
    """Put clips of one size into a batch."""
    frames = torch.stack([clip.frames for clip in clips]).float() / 127.5 - 1
    fps = torch.tensor([clip.fps for clip in clips], dtype=torch.float32)
    captions = tuple(clip.caption for clip in clips)
    return MediaBatch(frames, captions, fps, tuple(clip.key for clip in clips))


def is_picture_step(step: int, share: float) -> bool:
    """Return whether a step trains on pictures: an even ``share`` of all, the same on all ranks."""
    return math.floor((step + 1) * share) > math.floor(step * share)


class ImageVideoLoader:
    """The batch of every training step, a pure function of seed, step, rank and world.

    Args:
        config: the recipe's data section.
        batch_size: clips of a batch over all processes.
        seed: of the recipe.
        rank: of this process.
        world: how many processes there are.

    Raises:
        DataError: a data set cannot be used, or a batch does not divide by the processes.
    """

    def __init__(
        self,
        config: DataConfig,
        *,
        batch_size: int,
        seed: int,
        rank: int = 0,
        world: int = 1,
    ) -> None:
        self._share = config.picture_share
        clips = open_source(config.clips)
        pictures = clips if config.pictures is None else open_source(config.pictures)
        picture_batch = config.picture_batch or batch_size * config.window.frames
        with ExitStack() as stack:

            def loader(
                stream: int,
                source: DataSource,
                kept: DataSetConfig,
                window: WindowConfig | None,
                size: int,
            ) -> BatchLoader[Clip, MediaBatch]:
                made = BatchLoader(
                    MediaReader(
                        source, config.resolution, window, missing_caption=kept.missing_caption
                    ),
                    DeterministicSampler(
                        source.groups, seed=seed, stream=stream, rank=rank, world=world
                    ),
                    collate,
                    batch_size=_share_of(size, world),
                    workers=config.workers,
                    prefetch=config.prefetch,
                )
                return stack.enter_context(made)

            self.clips = loader(0, clips, config.clips, config.window, batch_size)
            self.pictures = loader(
                1, pictures, config.pictures or config.clips, None, picture_batch
            )
            self._stack = stack.pop_all()

    def step(self, step: int) -> MediaBatch:
        """The batch of a step, of clips or, on the configured share of steps, of pictures.

        Raises:
            DataError: there are too few samples that can be used.
        """
        before = math.floor(step * self._share)
        if is_picture_step(step, self._share):
            return self.pictures.batch(before)
        return self.clips.batch(step - before)

    @property
    def skipped(self) -> dict[str, int]:
        """Draws of this process left out since it started, by set and reason, for the log."""
        return {
            f"skipped clips, {reason}": count for reason, count in self.clips.skipped.items()
        } | {
            f"skipped pictures, {reason}": count for reason, count in self.pictures.skipped.items()
        }

    def close(self) -> None:
        """End the decoding threads."""
        self._stack.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


def _share_of(batch_size: int, world: int) -> int:
    if batch_size % world:
        raise DataError(f"a batch of {batch_size} does not divide by {world} processes")
    return batch_size // world


JointLoader = ImageVideoLoader
"""The earlier name."""
