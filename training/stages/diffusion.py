"""What the two video models share in training: batches, noise, loss, and the direction probe."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
from torch import Tensor
from transformers import CLIPTokenizer

from engine.models import VideoUNet
from engine.pipelines.text import TextLayer, tokenise
from engine.schedulers import clip_noise, make_scheduler
from engine.schedulers.base import VideoScheduler
from training import distributed
from training.data.captions import caption
from training.data.clips import ClipCache, load_clips, load_placed_pictures
from training.data.world import Scene
from training.recipe import DiffusionStage

TEXT_LAYER: TextLayer = "penultimate"
TRAIN_SEED = 10_000
PLACED_SEED = 20_000
STEP_KIND_SEED = 3
PROBE_SEED = 77
HIGH_NOISE = 0.6
TOP_NOISE = 0.94
OPPOSITE = {"left": "right", "right": "left", "up": "down", "down": "up"}


@dataclass(frozen=True, slots=True)
class Batch:
    """``latents [B, C, F, h, w]``, ``token_ids [B, 77]``, ``fps [B]`` and the scenes shown."""

    latents: Tensor
    token_ids: Tensor
    fps: Tensor
    scenes: list[Scene]
    first_frame: int


def demo_scheduler(name: str = "ddim") -> VideoScheduler:
    """The noise schedule of the demo model: velocity prediction, pure noise at the last step.

    A small latent keeps its mean colour at the released schedule's last timestep; without pure
    noise there, sampling could not choose it (arXiv 2305.08891).
    """
    return make_scheduler(
        name,
        prediction_type="v_prediction",
        rescale_betas_zero_snr=True,
        timestep_spacing="trailing",
    )


class ClipSampler:
    """Draws batches from the latent cache; every process has clips of its own."""

    def __init__(self, stage: DiffusionStage, tokenizer: CLIPTokenizer, cache_folder: Path) -> None:
        self.stage = stage
        self.tokenizer = tokenizer
        vae = AutoencoderKL.from_pretrained(stage.vae).eval()
        own = stage.clips // distributed.world_size()
        self._train = load_clips(vae, cache_folder, seed=TRAIN_SEED + distributed.rank(), count=own)
        self._probe = load_clips(
            vae, cache_folder, seed=PROBE_SEED, count=stage.probe_clips, moving=1.0
        )

        self._placed = (
            load_placed_pictures(
                vae,
                cache_folder,
                seed=PLACED_SEED + distributed.rank(),
                count=distributed.share_of(stage.placed_pictures),
            )
            if stage.placed_share > 0
            else None
        )

    def clips(self, rng: np.random.Generator, count: int) -> Batch:
        """Clips of the stage's length and stride, from their first frame on."""
        frames = range(0, self.stage.frames * self.stage.stride, self.stage.stride)
        return self._batch(self._train, rng, rng.integers(len(self._train), size=count), frames)

    def pictures(self, rng: np.random.Generator, count: int) -> Batch:
        """Single frames from anywhere in a clip, or pictures with a place."""
        if self._placed is not None and rng.random() < self.stage.placed_share:
            picks = rng.integers(len(self._placed), size=count)
            return self._batch(self._placed, rng, picks, range(1))
        picks = rng.integers(len(self._train), size=count)
        frame = int(rng.integers(self._train.latents.shape[1]))
        return self._batch(self._train, rng, picks, range(frame, frame + 1))

    def probe(self) -> tuple[Batch, Tensor]:
        """Held-out clips that move, and the captions that say the opposite direction."""
        rng = np.random.default_rng(PROBE_SEED)
        frames = range(0, self.stage.frames * self.stage.stride, self.stage.stride)
        batch = self._batch(self._probe, rng, np.arange(len(self._probe)), frames, dropout=0)
        rng = np.random.default_rng(PROBE_SEED)
        turned = [caption(replace(s, motion=OPPOSITE[s.motion]), rng) for s in batch.scenes]
        return batch, tokenise(self.tokenizer, turned)

    def step(self, rng: np.random.Generator, step: int, clips: int) -> tuple[Batch, bool]:
        """The batch of a training step, and whether it is one of pictures."""
        # Drawn from the step alone: every process must take the same kind of step.
        kind = np.random.default_rng([STEP_KIND_SEED, step]).random()
        if kind < self.stage.image_share:
            return self.pictures(rng, distributed.share_of(self.stage.image_batch)), True
        return self.clips(rng, clips), False

    def _batch(
        self,
        cache: ClipCache,
        rng: np.random.Generator,
        picks: np.ndarray[tuple[int], np.dtype[np.int64]],
        frames: range,
        *,
        dropout: float | None = None,
    ) -> Batch:
        scenes = [cache.scenes[i] for i in picks]
        dropout = self.stage.caption_dropout if dropout is None else dropout
        captions = [caption(s, rng) for s in scenes]
        captions = ["" if rng.random() < dropout else text for text in captions]
        latents = cache.latents[torch.from_numpy(np.asarray(picks))][:, list(frames)].float()
        # Label 0 says "one picture", as in common descendants of the paper.
        labels = [0 if len(frames) == 1 else s.fps / frames.step for s in scenes]
        return Batch(
            latents.movedim(1, 2),
            tokenise(self.tokenizer, captions),
            torch.tensor(labels, dtype=torch.float32),
            scenes,
            frames[0],
        )


def draw_timesteps(rng: np.random.Generator, count: int, stage: DiffusionStage) -> Tensor:
    """Uniform over 0..999, but with the stage's shares from the upper 6 and 40 %."""
    uniform = rng.uniform(size=count)
    kind = rng.random(size=count)
    lowest = np.where(kind < stage.high_noise_share, HIGH_NOISE, 0.0)
    lowest = np.where(kind < stage.top_noise_share, TOP_NOISE, lowest)
    position = lowest + (1 - lowest) * uniform
    return torch.from_numpy((position * 1000).astype(np.int64)).clamp(max=999)


def draw_noise(
    like: Tensor, stage: DiffusionStage, generator: torch.Generator | None = None
) -> Tensor:
    """Unit noise for clips ``[B, C, F, h, w]``, as the stage's pipeline will start from."""
    return clip_noise(like.shape, generator, like.device, shared=stage.shared_noise)


def denoising_loss(
    unet: VideoUNet,
    scheduler: VideoScheduler,
    batch: Batch,
    timesteps: Tensor,
    noise: Tensor,
    text: Tensor,
    *,
    image: Tensor | None = None,
    skip_temporal: bool = False,
) -> Tensor:
    """Mean squared error of the predicted velocity."""
    noisy = scheduler.add_noise(batch.latents, noise, timesteps)
    target = scheduler.get_velocity(batch.latents, noise, timesteps)
    predicted = unet(
        noisy,
        timesteps,
        text,
        fps=batch.fps,
        image_hidden_states=image,
        skip_temporal=skip_temporal,
    ).sample
    return F.mse_loss(predicted, target)
