"""Batches of the procedural world, from latents that were encoded once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
from torch import Tensor

from training.data.captions import caption
from training.data.clips import (
    CLIP_FRAMES,
    ClipCache,
    load_clips,
    load_placed_pictures,
    load_relabelled_clips,
)
from training.data.synthetic import CANVAS, SyntheticScene, render
from training.loop import distributed
from training.recipe.model import DiffusionStage, Optimisation, RecipeError
from training.stages.batches import (
    PROBE_SEED,
    FramePixels,
    SampleInputs,
    ValidationBatch,
    VideoBatch,
)

TRAIN_SEED = 10_000
PLACED_SEED = 20_000
STEP_KIND_SEED = 3
OPPOSITE = {"left": "right", "right": "left", "up": "down", "down": "up"}


class ClipSampler:
    """Draws batches from the latent cache; see :class:`training.stages.batches.BatchSource`."""

    def __init__(self, stage: DiffusionStage, plan: Optimisation, cache_folder: Path) -> None:
        if stage.frames * stage.stride > CLIP_FRAMES:
            raise RecipeError(
                f"stage.frames: {stage.frames} of stride {stage.stride} are more than the "
                f"{CLIP_FRAMES} frames of a clip"
            )
        self.stage = stage
        self._clips = distributed.share_of(plan.batch_size, plan.accumulate)
        self._pictures = distributed.share_of(stage.image_batch, plan.accumulate)
        vae = AutoencoderKL.from_pretrained(stage.vae, use_safetensors=True).eval()
        own = stage.clips // distributed.world_size()
        seed = TRAIN_SEED + distributed.rank()
        if stage.shows is not None and stage.says is not None:
            self._train = load_relabelled_clips(
                vae, cache_folder, seed=seed, count=own, shows=stage.shows, says=stage.says
            )
        else:
            self._train = load_clips(vae, cache_folder, seed=seed, count=own, moving=stage.moving)
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

    def batch(self, rng: np.random.Generator, step: int) -> VideoBatch:
        """See :class:`training.stages.batches.BatchSource`."""
        # Drawn from the step alone: every process must take the same kind of step.
        kind = np.random.default_rng([STEP_KIND_SEED, step]).random()
        if kind < self.stage.image_share:
            return self._draw_pictures(rng)
        # Clips of the stage's length and stride, from their first frame on.
        picks = rng.integers(len(self._train), size=self._clips)
        return self._batch(self._train, rng, picks, self._frames())

    def probe(self) -> ValidationBatch:
        """Held-out clips that move, and the captions that say the opposite direction."""
        rng = np.random.default_rng(PROBE_SEED)
        batch = self._batch(self._probe, rng, np.arange(len(self._probe)), self._frames())
        rng = np.random.default_rng(PROBE_SEED)
        scenes = self._probe.scenes
        turned = [caption(replace(s, motion=OPPOSITE[s.motion]), rng) for s in scenes]
        return ValidationBatch(batch, tuple(turned), "turned")

    def samples(self, count: int) -> SampleInputs:
        """The first held-out scenes and their captions, to look at what a model makes of them."""
        rng = np.random.default_rng(PROBE_SEED)
        scenes = self._probe.scenes[:count]
        return SampleInputs(
            captions=[caption(scene, rng) for scene in scenes],
            fps=[max(1, scene.fps // self.stage.stride) for scene in scenes],
            pictures=torch.cat([render(scene, [0]) for scene in scenes]).float() / 255,
            size=(CANVAS, CANVAS),
            frames=self.stage.frames,
        )

    def sample_size(self) -> str:
        """See :class:`training.stages.batches.BatchSource`."""
        height, width = self._train.latents.shape[-2:]
        return f"{self.stage.frames} frames of {height}x{width} latents"

    def counts(self) -> dict[str, float]:
        """Nothing: drawn clips are never broken."""
        return {}

    def prepare(self, device: torch.device) -> None:
        """Nothing is encoded any more."""

    def close(self) -> None:
        """There are no threads."""

    def _draw_pictures(self, rng: np.random.Generator) -> VideoBatch:
        """Single frames from anywhere in a clip, or pictures with a place."""
        if self._placed is not None and rng.random() < self.stage.placed_share:
            picks = rng.integers(len(self._placed), size=self._pictures)
            return self._batch(self._placed, rng, picks, range(1))
        picks = rng.integers(len(self._train), size=self._pictures)
        frame = int(rng.integers(self._train.latents.shape[1]))
        return self._batch(self._train, rng, picks, range(frame, frame + 1))

    def _frames(self) -> range:
        return range(0, self.stage.frames * self.stage.stride, self.stage.stride)

    def _batch(
        self,
        cache: ClipCache,
        rng: np.random.Generator,
        picks: np.ndarray[tuple[int], np.dtype[np.int64]],
        frames: range,
    ) -> VideoBatch:
        scenes = [cache.scenes[i] for i in picks]
        captions = tuple(caption(scene, rng) for scene in scenes)
        latents = cache.latents[torch.from_numpy(np.asarray(picks))][:, list(frames)].float()
        # Label 0 says "one picture", as in common descendants of the paper.
        labels = [0 if len(frames) == 1 else s.fps / frames.step for s in scenes]
        return VideoBatch(
            latents=latents.movedim(1, 2),
            captions=captions,
            fps=torch.tensor(labels, dtype=torch.float32),
            pictures=len(frames) == 1,
            frame_pixels=_pixels(scenes, frames),
        )


def _pixels(scenes: Sequence[SyntheticScene], frames: range) -> FramePixels:
    def pixels(picks: Sequence[int]) -> Tensor:
        shown = zip(scenes, picks, strict=True)
        return torch.cat([render(scene, [frames[pick]]) for scene, pick in shown]).float() / 255

    return pixels
