"""Precomputed latents as a data set."""

from __future__ import annotations

import json
import threading
from bisect import bisect_right
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file
from torch import Tensor

from training.data.buckets import Bucket
from training.data.digest import file_digest
from training.data.errors import DataError, NoSamplesError, SampleError
from training.data.manifest import Manifest, read_manifest, refuse_other

OPEN_SHARDS = 64


@dataclass(frozen=True, slots=True)
class LatentClip:
    """``latents [C, F, h, w]``, ``text [77, D]`` or None, the caption and the fps label."""

    key: str
    latents: Tensor
    text: Tensor | None
    caption: str
    fps: float


@dataclass(frozen=True, slots=True)
class LatentBatch:
    """``latents [B, C, F, h, w]`` and ``text [B, 77, D]`` (or None) in float32, ``fps [B]``."""

    latents: Tensor
    text: Tensor | None
    captions: tuple[str, ...]
    fps: Tensor
    keys: tuple[str, ...]


def collate_latents(clips: Sequence[LatentClip]) -> LatentBatch:
    """Put latents of one size into a batch."""
    texts = [clip.text for clip in clips if clip.text is not None]
    return LatentBatch(
        torch.stack([clip.latents for clip in clips]).float(),
        torch.stack(texts).float() if texts else None,
        tuple(clip.caption for clip in clips),
        torch.tensor([clip.fps for clip in clips], dtype=torch.float32),
        tuple(clip.key for clip in clips),
    )


class LatentSet:
    """Reads what :func:`training.data.precompute.precompute` wrote; a reader for a BatchLoader.

    Args:
        folder: with the manifest.
        vae: digest (:func:`training.data.digest.model_digest`) that the autoencoder must have.
        text: digest that the text tower must have; None where features are not needed.
        layer: text layer that must have been taken.
        preprocessing: keys of PrecomputeConfig that must have had these values.
        verify: compare every shard with its checksum.

    Raises:
        DataError: the latents are not complete, damaged, or were made otherwise.
        NoSamplesError: there are none.
    """

    def __init__(
        self,
        folder: Path,
        *,
        vae: str | None = None,
        text: str | None = None,
        layer: str | None = None,
        preprocessing: Mapping[str, Any] | None = None,
        verify: bool = False,
    ) -> None:
        self.manifest: Manifest = read_manifest(folder)
        refuse_other(
            folder, self.manifest, vae=vae, text=text, layer=layer, preprocessing=preprocessing
        )
        if not self.manifest.complete:
            raise DataError(f"{folder} is not complete; run the same `data precompute` again")
        self._folder = folder
        self._shards = [shard for shard in self.manifest.shards if shard.samples]
        if not self._shards:
            raise NoSamplesError(f"{folder} holds no latents")
        if verify:
            self._verify()
        self.groups: tuple[int, ...] = tuple(shard.samples for shard in self._shards)
        self._ends = list(accumulate(self.groups))
        self._lock = threading.Lock()
        self._facts: OrderedDict[int, list[dict[str, Any]]] = OrderedDict()

    def empty_text(self) -> Tensor | None:
        """Text features of the empty caption ``[77, D]``, float32; None without a text tower.

        Raises:
            DataError: their file cannot be read.
        """
        record = self.manifest.empty_caption
        if record is None:
            return None
        try:
            return load_file(self._folder / record.file)["text"].float()
        except (OSError, SafetensorError, KeyError) as error:
            raise DataError(f"{self._folder / record.file} cannot be read: {error}") from error

    def bucket(self, index: int) -> Bucket:
        """Size in pixels of what a sample's latents show; see Reader."""
        shard, place = self._find(index)
        facts = self._facts_of(shard)[place]
        return Bucket(facts["width"], facts["height"])

    def load(self, index: int, bucket: Bucket, rng: np.random.Generator) -> LatentClip:
        """One sample; nothing is random any more. See Reader."""
        shard, place = self._find(index)
        facts = self._facts_of(shard)[place]
        path = self._folder / self._shards[shard].file
        try:
            with safe_open(path, framework="pt") as file:
                latents = file.get_tensor(f"latents.{place}")
                text = file.get_tensor(f"text.{place}") if self.manifest.text else None
        except (OSError, SafetensorError) as error:
            raise SampleError("broken shard", f"{path}: {error}") from error
        return LatentClip(facts["key"], latents, text, facts["caption"], facts["fps"])

    def _find(self, index: int) -> tuple[int, int]:
        shard = bisect_right(self._ends, index)
        return shard, index - (self._ends[shard] - self.groups[shard])

    def _facts_of(self, shard: int) -> list[dict[str, Any]]:
        with self._lock:
            if shard in self._facts:
                self._facts.move_to_end(shard)
                return self._facts[shard]
        path = self._folder / self._shards[shard].file
        try:
            with safe_open(path, framework="pt") as file:
                facts: list[dict[str, Any]] = json.loads(file.metadata()["samples"])
        except (OSError, SafetensorError) as error:
            raise SampleError("broken shard", f"{path}: {error}") from error
        with self._lock:
            self._facts[shard] = facts
            while len(self._facts) > OPEN_SHARDS:
                self._facts.popitem(last=False)
        return facts

    def _verify(self) -> None:
        for shard in self.manifest.shards:
            path = self._folder / shard.file
            try:
                found = file_digest(path)
            except OSError as error:
                raise DataError(f"{path} cannot be read: {error.strerror}") from error
            if found != shard.sha256:
                raise DataError(f"{path} is damaged: its checksum is not that of the manifest")
