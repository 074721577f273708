"""Batches of latents that ``python -m training data precompute`` wrote."""

from __future__ import annotations

import math
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import torch
from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
from transformers import CLIPTextModel

from training.data.digest import model_digest
from training.data.errors import DataError, SampleError
from training.data.joint import is_picture_step
from training.data.latents import LatentBatch, LatentClip, LatentSet, collate_latents
from training.data.loader import BatchLoader
from training.data.order import DeterministicSampler
from training.loop import distributed
from training.recipe.model import DiffusionStage, Optimisation
from training.recipe.sections import LatentData
from training.stages.batches import (
    PROBE_SEED,
    GradAccumCounter,
    SampleInputs,
    ValidationBatch,
    VideoBatch,
    as_training_error,
    rotated,
)

_Loader = BatchLoader[LatentClip, LatentBatch]


class LatentSource:
    """See :class:`training.stages.batches.BatchSource`.

    Args:
        stage: of the recipe.
        data: its data section.
        plan: batch size and passes.
        seed: of the recipe.
        text: folder of the text tower where it is frozen, so that features beside the latents are
            those that it would give; None where it is trained.

    Raises:
        RecipeError: a batch does not divide.
        TrainingError: the latents are incomplete, or were made by other models.
    """

    def __init__(
        self,
        stage: DiffusionStage,
        data: LatentData,
        plan: Optimisation,
        *,
        seed: int,
        text: Path | None,
    ) -> None:
        self._stage, self._data = stage, data
        self._pixels = (0, 0)  # of the probe, once it is read
        vae = AutoencoderKL.from_pretrained(stage.vae, use_safetensors=True)
        self._vae_digest = model_digest(vae, vae.config)
        self._passes = GradAccumCounter(plan.accumulate)
        self._probe: ValidationBatch | None = None
        with as_training_error(), ExitStack() as stack:
            clips = self._open(data.clips)
            self._features = text is not None and clips.manifest.text is not None
            if text is not None and self._features:
                # As it lies in its folder: the digest is that of the stored number format.
                tower = CLIPTextModel.from_pretrained(text, use_safetensors=True)
                clips = self._open(data.clips, model_digest(tower, tower.config.to_dict()))
            self._empty = clips.empty_text() if self._features else None

            def loader(
                stream: int, found: LatentSet, size: int
            ) -> BatchLoader[LatentClip, LatentBatch]:
                order = DeterministicSampler(
                    found.groups,
                    seed=seed,
                    stream=stream,
                    rank=distributed.rank(),
                    world=distributed.world_size(),
                )
                made = BatchLoader(
                    found,
                    order,
                    collate_latents,
                    batch_size=distributed.share_of(size, plan.accumulate),
                    workers=data.workers,
                    prefetch=data.prefetch,
                )
                return stack.enter_context(made)

            self._frames = self._frames_of(clips)
            self._clips = loader(0, clips, plan.batch_size)
            self._pictures = None
            if data.pictures is not None and data.picture_share > 0:
                count = data.picture_batch or plan.batch_size * self._frames
                self._pictures = loader(1, self._open(data.pictures), count)
            self._stack = stack.pop_all()

    def batch(self, rng: np.random.Generator, step: int) -> VideoBatch:
        """See :class:`training.stages.batches.BatchSource`."""
        share = self._data.picture_share
        before = math.floor(step * share)
        pictures = self._pictures is not None and is_picture_step(step, share)
        number = self._passes.number(step, before if pictures else step - before)
        loader = self._pictures if pictures and self._pictures is not None else self._clips
        with as_training_error():
            return self._as_batch(loader.batch(number), pictures=pictures)

    def probe(self) -> ValidationBatch:
        """The first held-out clips of one size."""
        if self._probe is None:
            with as_training_error():
                found = self._open(self._data.held_out or self._data.clips)
                batch = self._as_batch(collate_latents(self._first_of_one_size(found)))
            self._probe = ValidationBatch(batch, rotated(batch.captions), "other")
        return self._probe

    def samples(self, count: int) -> SampleInputs:
        """The first clips of the probe, in the size that they have."""
        batch = self.probe().batch
        shown = min(count, len(batch))
        return SampleInputs(
            captions=list(batch.captions[:shown]),
            fps=[max(1, round(fps)) for fps in batch.fps[:shown].tolist()],
            pictures=None,
            size=self._pixels,
            frames=self._frames,
        )

    def sample_size(self) -> str:
        """See :class:`training.stages.batches.BatchSource`."""
        return f"latents of {self._frames} frames"

    def counts(self) -> dict[str, float]:
        """Draws of this process that were left out: ``skipped``."""
        loaders = [self._clips] if self._pictures is None else [self._clips, self._pictures]
        return {"skipped": sum(sum(loader.skipped.values()) for loader in loaders)}

    def prepare(self, device: torch.device) -> None:
        """Nothing is encoded any more."""

    def close(self) -> None:
        """End the reading threads."""
        self._stack.close()

    def _open(self, folder: Path, text: str | None = None) -> LatentSet:
        layer = self._stage.text_layer if text is not None else None
        return LatentSet(folder, vae=self._vae_digest, text=text, layer=layer)

    def _frames_of(self, clips: LatentSet) -> int:
        window = clips.manifest.preprocessing.get("window")
        if window is None:
            raise DataError(f"{self._data.clips} holds pictures, not clips")
        return int(window["frames"])

    def _first_of_one_size(self, found: LatentSet) -> list[LatentClip]:
        clips: list[LatentClip] = []
        bucket = None
        for index in range(sum(found.groups)):
            try:
                own = found.bucket(index)
                if bucket in (None, own):
                    clips.append(found.load(index, own, np.random.default_rng(PROBE_SEED)))
                    bucket = own
            except SampleError:
                continue
            if len(clips) == self._stage.probe_clips:
                break
        if bucket is None:
            raise DataError(f"{self._data.held_out or self._data.clips}: no clip can be read")
        self._pixels = (bucket.height, bucket.width)
        return clips

    def _as_batch(self, read: LatentBatch, *, pictures: bool = False) -> VideoBatch:
        return VideoBatch(
            latents=read.latents,
            captions=read.captions,
            fps=read.fps,
            pictures=pictures,
            text=read.text if self._features else None,
            empty_text=self._empty,
        )
