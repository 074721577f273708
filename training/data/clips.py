"""Latents of procedural clips, encoded once and kept beside the run."""

from __future__ import annotations

import hashlib
import itertools
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
from safetensors.torch import load_file, save_file
from torch import Tensor

from common.atomic_write import atomic_path
from training.data.synthetic import (
    SHAPES,
    SyntheticScene,
    render,
    sample_placed_scene,
    sample_scene,
)

CLIP_FRAMES = 16


@dataclass(frozen=True, slots=True)
class ClipCache:
    """``latents [N, F, C, h, w]`` in half precision, and the scenes they show."""

    latents: Tensor
    scenes: list[SyntheticScene]

    def __len__(self) -> int:
        return len(self.scenes)


def scene_of(seed: int, index: int, moving: float) -> SyntheticScene:
    """The scene with a given number in the set with a given seed and share of movers."""
    return sample_scene(np.random.default_rng([seed, index]), moving=moving, frames=CLIP_FRAMES)


def load_clips(
    vae: AutoencoderKL, folder: Path, *, seed: int, count: int, moving: float = 0.5
) -> ClipCache:
    """Encode ``count`` clips, or read them from ``folder`` where that was done before."""
    scenes = [scene_of(seed, index, moving) for index in range(count)]
    return _load(vae, folder, f"train-{seed}-{count}-{moving:g}", scenes, CLIP_FRAMES)


def load_relabelled_clips(
    vae: AutoencoderKL, folder: Path, *, seed: int, count: int, shows: str, says: str
) -> ClipCache:
    """Clips of the motion ``shows`` alone, with scenes that tell the motion ``says``."""
    found = (scene_of(seed, index, 0.5) for index in itertools.count())
    scenes = list(itertools.islice((s for s in found if s.motion == shows), count))
    clips = _load(vae, folder, f"{shows}-{seed}-{count}", scenes, CLIP_FRAMES)
    return ClipCache(clips.latents, [replace(scene, motion=says) for scene in scenes])


def load_placed_pictures(vae: AutoencoderKL, folder: Path, *, seed: int, count: int) -> ClipCache:
    """The same for single pictures of objects whose place the caption names."""
    scenes = [sample_placed_scene(np.random.default_rng([seed, i])) for i in range(count)]
    return _load(vae, folder, f"placed-train-{seed}-{count}", scenes, 1)


def _load(
    vae: AutoencoderKL, folder: Path, name: str, scenes: list[SyntheticScene], frames: int
) -> ClipCache:
    # The digest keeps another autoencoder, or another version of the world, from reading these.
    path = folder / f"latents-{_digest(vae, scenes)}-{name}.safetensors"
    if not path.exists():
        latents = torch.stack([_encode(vae, scene, frames) for scene in scenes])
        folder.mkdir(parents=True, exist_ok=True)
        with atomic_path(path) as part:
            save_file({"latents": latents}, part)
    return ClipCache(load_file(path)["latents"], scenes)


@torch.no_grad()
def _encode(vae: AutoencoderKL, scene: SyntheticScene, frames: int) -> Tensor:
    pixels = render(scene, range(frames)).float() / 127.5 - 1  # [F, 3, H, W]
    pixels = pixels.to(memory_format=torch.channels_last)
    latents: Tensor = vae.encode(pixels).latent_dist.mode()  # [F, C, h, w]
    return latents.half().contiguous()


def _digest(vae: AutoencoderKL, scenes: list[SyntheticScene]) -> str:
    digest = hashlib.sha256(repr(scenes).encode())
    for shape in SHAPES:  # a scene may come to be drawn in another way
        drawn = next((scene for scene in scenes if scene.shape == shape), None)
        if drawn is not None:
            digest.update(render(drawn, [0]).numpy().tobytes())
    for name, tensor in sorted(vae.state_dict().items()):
        digest.update(name.encode())
        digest.update(tensor.contiguous().numpy().tobytes())
    return digest.hexdigest()[:12]
