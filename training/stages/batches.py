"""The inputs of a step of diffusion training, and the protocol of their sources."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from training.data.errors import DataError
from training.errors import TrainingError

PROBE_SEED = 77

FramePixels = Callable[[Sequence[int]], Tensor]
"""One frame number for each clip of a batch ``-> [B, 3, H, W]`` in [0, 1], on the CPU."""


@dataclass(frozen=True, slots=True)
class VideoBatch:
    """Clips, or single pictures.

    Attributes:
        latents: ``[B, C, F, h, w]``, as the UNet sees them without noise.
        captions: one for each.
        fps: labels ``[B]``; 0 for pictures.
        pictures: these are single pictures, for which the temporal layers are skipped.
        text: features of the captions ``[B, 77, D]`` where they were computed beforehand.
        empty_text: features of the empty caption ``[77, D]`` where there are such of the others.
        frame_pixels: the pixels themselves; None where only latents are known.
    """

    latents: Tensor
    captions: tuple[str, ...]
    fps: Tensor
    pictures: bool = False
    text: Tensor | None = None
    empty_text: Tensor | None = None
    frame_pixels: FramePixels | None = None

    def __len__(self) -> int:
        return len(self.captions)

    def to(self, device: torch.device) -> VideoBatch:
        """The batch with its tensors on a device."""
        return replace(
            self,
            latents=self.latents.to(device),
            fps=self.fps.to(device),
            text=None if self.text is None else self.text.to(device),
        )


@dataclass(frozen=True, slots=True)
class ValidationBatch:
    """Clips to measure on, always the same, and captions that are wrong for them.

    Attributes:
        batch: the clips with their own captions.
        others: a wrong caption for each.
        kind: what is wrong with them, in one word for the log.
    """

    batch: VideoBatch
    others: tuple[str, ...]
    kind: str


@dataclass(frozen=True, slots=True)
class SampleInputs:
    """The inputs of the samples that are made for people to look at.

    Attributes:
        captions: ``N`` of them.
        fps: a label for each.
        pictures: first frames ``[N, 3, H, W]`` in [0, 1]; None where only latents are known.
        size: height and width in pixels.
        frames: of a clip.
    """

    captions: list[str]
    fps: list[int]
    pictures: Tensor | None
    size: tuple[int, int]
    frames: int


class BatchSource(Protocol):
    """A source of batches for a diffusion stage; each process has samples of its own."""

    def batch(self, rng: np.random.Generator, step: int) -> VideoBatch:
        """This process's share of one pass of a step.

        Whether a step trains on pictures is the same for all processes and passes.
        """
        ...

    def probe(self) -> ValidationBatch:
        """Held-out clips."""
        ...

    def samples(self, count: int) -> SampleInputs:
        """Up to ``count`` held-out clips to imitate."""
        ...

    def sample_size(self) -> str:
        """Describe one clip of a batch in words."""
        ...

    def counts(self) -> dict[str, float]:
        """Return the counts of this process since it started, by name."""
        ...

    def prepare(self, device: torch.device) -> None:
        """Encode on this device from now on."""
        ...

    def close(self) -> None:
        """End threads, if there are any."""
        ...


def rotated(captions: Sequence[str]) -> tuple[str, ...]:
    """Each clip gets the caption of its neighbour, so that (nearly) all are wrong."""
    return (*captions[1:], *captions[:1])


class GradAccumCounter:
    """Numbers the passes of a step, which the loop makes one after the other.

    Batches of data sets have numbers, and a pass whose gradients are added to others' must not see
    what another has seen.
    """

    def __init__(self, passes: int) -> None:
        self._passes = passes
        self._step = -1
        self._next = 0

    def number(self, step: int, of_kind: int) -> int:
        """The number of a pass among all those of its kind of step.

        Args:
            step: under way; the first pass of another step begins anew.
            of_kind: steps of the same kind before this one.
        """
        if step != self._step:
            self._step, self._next = step, 0
        elif self._next == self._passes:
            raise RuntimeError(f"step {step} has more than its {self._passes} passes")
        self._next += 1
        return of_kind * self._passes + self._next - 1


@contextmanager
def as_training_error() -> Iterator[None]:
    """Turn a DataError into a TrainingError with the same words, which ends the run."""
    try:
        yield
    except DataError as error:
        raise TrainingError(str(error)) from error
