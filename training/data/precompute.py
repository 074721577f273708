"""Encode a data set once: latents and text features in safetensors shards, with a manifest."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import takewhile
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import torch
from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
from pydantic import BaseModel, ConfigDict, Field
from safetensors.torch import save_file
from torch import Tensor
from transformers import CLIPTextModel, CLIPTokenizer

from common.atomic_write import atomic_path
from engine.pipelines.latents import encode_frames
from engine.pipelines.text import TextLayer, encode_text, tokenise
from training.data.config import ResolutionConfig, WindowConfig
from training.data.digest import file_digest, model_digest
from training.data.errors import DataError, NoSamplesError, SampleError, about_sample
from training.data.manifest import (
    MANIFEST,
    FileRecord,
    Manifest,
    ModelDigest,
    ShardRecord,
    SourceIdentity,
    TextDigest,
    read_manifest,
    refuse_other,
    write_manifest,
)
from training.data.reader import Clip, MediaReader
from training.data.skips import SkipCounter
from training.data.sources import DataSource

EMPTY_CAPTION = "empty-caption.safetensors"


class PrecomputeConfig(BaseModel):
    """The settings of a precomputation, which are part of its manifest."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    resolution: ResolutionConfig
    window: WindowConfig | None = WindowConfig()
    """None makes single pictures."""
    missing_caption: Literal["skip", "empty"] = "skip"
    variants: Annotated[int, Field(ge=1)] = 1
    """Windows of each clip, each drawn anew."""
    seed: Annotated[int, Field(ge=0)] = 0
    shard_samples: Annotated[int, Field(ge=1)] = 64
    """Samples of the source in each shard; what a stop can lose."""


@dataclass(frozen=True, slots=True)
class TextFeatureEncoder:
    """The text encoder whose features are kept."""

    name: str
    encoder: CLIPTextModel
    tokenizer: CLIPTokenizer
    layer: TextLayer

    def features(self, caption: str) -> Tensor:
        """``[77, D]`` in half precision."""
        ids = tokenise(self.tokenizer, [caption]).to(self.encoder.device)
        with torch.no_grad():
            return encode_text(self.encoder, ids, self.layer)[0].half().cpu().contiguous()


@dataclass(frozen=True, slots=True)
class _LatentEntry:
    latents: Tensor
    text: Tensor | None
    facts: dict[str, Any]


def precompute(
    source: DataSource,
    config: PrecomputeConfig,
    output: Path,
    *,
    source_path: str,
    vae: AutoencoderKL,
    vae_name: str,
    text: TextFeatureEncoder | None = None,
    workers: int = 2,
    report: Callable[[Manifest], None] = lambda _: None,
) -> Manifest:
    """Encode every sample of a source, going on where an earlier run stopped.

    Latents are the posterior's mean, normalised for the UNet, ``[C, F, h, w]`` in half precision:
    the posterior of these autoencoders is so narrow that drawing from it changes nothing visible,
    and its deviation would double the disk. Shards appear whole or not at all.

    Args:
        source: the data set.
        config: sizes, windows, seed.
        output: the folder to write; made if need be.
        source_path: what the manifest calls the source.
        vae: the autoencoder, on the device to use.
        vae_name: what the manifest calls it.
        text: the text tower; None keeps captions alone.
        workers: decoding threads.
        report: called after each shard.

    Returns:
        The complete manifest.

    Raises:
        DataError: ``output`` holds something else, or latents that were made otherwise.
        NoSamplesError: no sample can be used.
        OSError: the folder cannot be written.
    """
    wanted = Manifest(
        vae=ModelDigest(name=vae_name, digest=model_digest(vae, vae.config)),
        text=_identity(text),
        preprocessing=config.model_dump(mode="json"),
        source=SourceIdentity(path=source_path, kind=source.kind, samples=sum(source.groups)),
    )
    manifest = _go_on(output, wanted)
    if text is not None and manifest.empty_caption is None:
        record = _write(output, EMPTY_CAPTION, {"text": text.features("")}, {})
        manifest = manifest.model_copy(update={"empty_caption": record})
        write_manifest(output, manifest)
    reader = MediaReader(
        source, config.resolution, config.window, missing_caption=config.missing_caption
    )
    total = manifest.source.samples
    with ThreadPoolExecutor(max(1, workers)) as pool:
        for first in range(_done(manifest), total, config.shard_samples):
            end = min(total, first + config.shard_samples)
            clips = _clips(reader, config, range(first, end), pool, workers)
            record = _shard(output, first, end, clips, vae, text)
            manifest = manifest.model_copy(update={"shards": (*manifest.shards, record)})
            write_manifest(output, manifest)
            report(manifest)
    if not any(shard.samples for shard in manifest.shards):
        reasons = sorted({reason for shard in manifest.shards for reason in shard.skipped})
        raise NoSamplesError(f"{source_path}: no sample can be used ({', '.join(reasons)})")
    manifest = manifest.model_copy(update={"complete": True})
    write_manifest(output, manifest)
    return manifest


def _identity(text: TextFeatureEncoder | None) -> TextDigest | None:
    if text is None:
        return None
    digest = model_digest(text.encoder, text.encoder.config.to_dict())
    return TextDigest(name=text.name, digest=digest, layer=text.layer)


def _go_on(output: Path, wanted: Manifest) -> Manifest:
    """The manifest of an earlier run of the very same kind, or a new one."""
    if not (output / MANIFEST).exists():
        if output.exists() and any(output.iterdir()):
            raise DataError(f"{output} is not empty and holds no {MANIFEST}; choose another folder")
        output.mkdir(parents=True, exist_ok=True)
        write_manifest(output, wanted)
        return wanted
    found = read_manifest(output)
    refuse_other(
        output,
        found,
        vae=wanted.vae.digest,
        text=wanted.text.digest if wanted.text else None,
        layer=wanted.text.layer if wanted.text else None,
        preprocessing=wanted.preprocessing,
    )
    if (found.text is None) != (wanted.text is None):
        raise DataError(f"{output} was precomputed with text features; give the same text tower")
    if found.source != wanted.source:
        raise DataError(
            f"{output} was precomputed from {found.source.path} ({found.source.samples} samples), "
            f"not from {wanted.source.path} ({wanted.source.samples}); choose another folder"
        )
    # What was lost since is made again, and all that follows it, to keep the order.
    there = tuple(takewhile(lambda shard: (output / shard.file).exists(), found.shards))
    return found.model_copy(update={"shards": there})


def _done(manifest: Manifest) -> int:
    return manifest.shards[-1].end if manifest.shards else 0


def _clips(
    reader: MediaReader,
    config: PrecomputeConfig,
    samples: range,
    pool: ThreadPoolExecutor,
    workers: int,
) -> Iterator[Clip | SampleError]:
    """All windows of some samples, decoded a few at a time."""

    def load(job: tuple[int, int]) -> Clip | SampleError:
        index, variant = job
        try:
            rng = np.random.default_rng([config.seed, index, variant])
            with about_sample(f"sample {index}"):
                return reader.load(index, reader.bucket(index), rng)
        except SampleError as error:
            return error

    jobs = [(index, variant) for index in samples for variant in range(config.variants)]
    step = 2 * max(1, workers)
    for start in range(0, len(jobs), step):
        yield from pool.map(load, jobs[start : start + step])


def _shard(
    output: Path,
    first: int,
    end: int,
    clips: Iterator[Clip | SampleError],
    vae: AutoencoderKL,
    text: TextFeatureEncoder | None,
) -> ShardRecord:
    skips = SkipCounter()
    entries: list[_LatentEntry] = []
    for clip in clips:
        if isinstance(clip, SampleError):
            skips.add([clip])
        else:
            entries.append(_encode(clip, vae, text))
    tensors = {f"latents.{number}": entry.latents for number, entry in enumerate(entries)}
    for number, entry in enumerate(entries):
        if entry.text is not None:
            tensors[f"text.{number}"] = entry.text
    facts = {"samples": json.dumps([entry.facts for entry in entries], ensure_ascii=False)}
    file = _write(output, f"latents-{first:09d}.safetensors", tensors, facts)
    return ShardRecord(
        file=file.file,
        sha256=file.sha256,
        first=first,
        end=end,
        samples=len(entries),
        skipped=skips.counts(),
    )


def _encode(clip: Clip, vae: AutoencoderKL, text: TextFeatureEncoder | None) -> _LatentEntry:
    frames = clip.frames[None].float() / 255  # [1, F, 3, H, W]
    latents = encode_frames(vae, frames, sample=False)[0].half().cpu().contiguous()  # [C, F, h, w]
    facts = {
        "key": clip.key,
        "caption": clip.caption,
        "fps": clip.fps,
        "width": clip.frames.shape[-1],
        "height": clip.frames.shape[-2],
    }
    return _LatentEntry(latents, text.features(clip.caption) if text else None, facts)


def _write(
    folder: Path, name: str, tensors: dict[str, Tensor], facts: dict[str, str]
) -> FileRecord:
    with atomic_path(folder / name) as part:
        save_file(tensors, part, metadata=facts)
        sha256 = file_digest(part)
    return FileRecord(file=name, sha256=sha256)
