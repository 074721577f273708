"""Batches of real videos and pictures, encoded while training by the frozen autoencoder."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch
from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
from torch import Tensor, nn

from engine.pipelines.latents import encode_frames
from training.data.errors import DataError, SampleError
from training.data.joint import ImageVideoLoader, MediaBatch, collate, is_picture_step
from training.data.reader import Clip, MediaReader
from training.data.sources import open_source
from training.loop import distributed
from training.recipe.model import Optimisation
from training.recipe.sections import MediaData
from training.stages.batches import (
    PROBE_SEED,
    FramePixels,
    GradAccumCounter,
    SampleInputs,
    ValidationBatch,
    VideoBatch,
    as_training_error,
    rotated,
)

ENCODED_AT_ONCE = 8
"""Frames that the autoencoder takes at once."""
_PROBE_TRIES = 50
"""Samples that are looked at for each clip of the probe, at most."""


class MediaSource:
    """See :class:`training.stages.batches.BatchSource`.

    Args:
        data: of the recipe.
        plan: batch size and passes.
        vae: frozen, in the number format to encode in.
        seed: of the recipe.
        probe_clips: clips of the probe.

    Raises:
        RecipeError: a batch does not divide.
        TrainingError: a data set cannot be used.
    """

    def __init__(
        self,
        data: MediaData,
        plan: Optimisation,
        vae: AutoencoderKL,
        *,
        seed: int,
        probe_clips: int,
    ) -> None:
        pictures = data.picture_batch or plan.batch_size * data.window.frames
        for size in (plan.batch_size, pictures):
            distributed.share_of(size, plan.accumulate)
        self._data, self._vae, self._probe_clips = data, vae, probe_clips
        self._device = torch.device("cpu")
        self._passes = GradAccumCounter(plan.accumulate)
        self._probe: ValidationBatch | None = None
        with as_training_error():
            self._loader = ImageVideoLoader(
                data.model_copy(update={"picture_batch": pictures // plan.accumulate}),
                batch_size=plan.batch_size // plan.accumulate,
                seed=seed,
                rank=distributed.rank(),
                world=distributed.world_size(),
            )

    def batch(self, rng: np.random.Generator, step: int) -> VideoBatch:
        """See :class:`training.stages.batches.BatchSource`."""
        share = self._data.picture_share
        before = math.floor(step * share)
        pictures = is_picture_step(step, share)
        number = self._passes.number(step, before if pictures else step - before)
        with as_training_error():
            if pictures:
                return self._encoded(self._loader.pictures.batch(number))
            return self._encoded(self._loader.clips.batch(number))

    def probe(self) -> ValidationBatch:
        """Held-out clips, read when they are first asked for; the captions are exchanged."""
        if self._probe is None:
            batch = self._encoded(self._held_out(), sample=False)
            self._probe = ValidationBatch(batch, rotated(batch.captions), "other")
        return self._probe

    def samples(self, count: int) -> SampleInputs:
        """The first clips of the probe."""
        batch, resolution = self.probe().batch, self._data.resolution
        shown = min(count, len(batch))
        pictures = batch.frame_pixels([0] * len(batch)) if batch.frame_pixels else None
        return SampleInputs(
            captions=list(batch.captions[:shown]),
            fps=[max(1, round(fps)) for fps in batch.fps[:shown].tolist()],
            pictures=None if pictures is None else pictures[:shown],
            size=(resolution.height, resolution.width),
            frames=self._data.window.frames,
        )

    def sample_size(self) -> str:
        """See :class:`training.stages.batches.BatchSource`."""
        resolution = self._data.resolution
        return f"{self._data.window.frames} frames of {resolution.width}x{resolution.height} pixels"

    def prepare(self, device: torch.device) -> None:
        """See :class:`training.stages.batches.BatchSource`."""
        self._device = device
        nn.Module.to(self._vae, device)

    def close(self) -> None:
        """End the decoding threads."""
        self._loader.close()

    def counts(self) -> dict[str, float]:
        """Draws of this process that were left out: ``skipped``, for whatever reason."""
        return {"skipped": sum(self._loader.skipped.values())}

    def _encoded(self, media: MediaBatch, *, sample: bool = True) -> VideoBatch:
        frames = media.frames / 2 + 0.5  # [B, F, 3, H, W] in [0, 1]
        batch = encode_batch(
            self._vae,
            frames.to(self._device),
            media.captions,
            media.fps.to(self._device),
            pictures=media.pictures,
            sample=sample,
        )
        return replace(batch, frame_pixels=_pixels(frames))

    def _held_out(self) -> MediaBatch:
        """Clips of the recipe's stated size, spread over the set; the same at every call."""
        data = self._data
        chosen = data.held_out or data.clips
        with as_training_error():
            source = open_source(chosen)
            reader = MediaReader(
                source,
                data.resolution.model_copy(update={"buckets": False}),
                data.window,
                missing_caption=chosen.missing_caption,
            )
            total = sum(source.groups)
            wanted = min(self._probe_clips, total)
            tries = min(total, wanted * _PROBE_TRIES)
            # A stride prime to the size goes through all of the set, far apart at first.
            stride = max(1, total // max(1, wanted))
            while math.gcd(stride, max(1, total)) > 1:
                stride += 1
            clips: list[Clip] = []
            for number in range(tries):
                index = number * stride % total
                try:
                    bucket = reader.bucket(index)
                    rng = np.random.default_rng([PROBE_SEED, index])
                    clips.append(reader.load(index, bucket, rng))
                except SampleError:
                    continue  # counted and logged where it is drawn for training
                if len(clips) == wanted:
                    break
            if not clips:
                raise DataError(f"{chosen.path}: no clip can be used to measure on")
        return collate(clips)


def encode_batch(
    vae: AutoencoderKL,
    frames: Tensor,
    captions: tuple[str, ...],
    fps: Tensor,
    *,
    pictures: bool,
    sample: bool = True,
) -> VideoBatch:
    """Encode frames ``[B, F, 3, H, W]`` in [0, 1], a few at a time, as a batch without pixels."""
    latents = encode_frames(vae, frames, sample=sample, chunk_size=ENCODED_AT_ONCE)
    return VideoBatch(latents=latents, captions=captions, fps=fps, pictures=pictures)


def _pixels(frames: Tensor) -> FramePixels:
    def pixels(picks: Sequence[int]) -> Tensor:
        return frames[torch.arange(len(frames)), torch.tensor(list(picks))]

    return pixels
