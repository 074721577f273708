"""Stage 1: the autoencoder of the demo model, on single frames of the procedural world."""

from __future__ import annotations

import math
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Self, cast

import numpy as np
import torch
import torch.nn.functional as F
from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
from torch import Tensor, nn

from training.data.synthetic import CANVAS, SyntheticScene, render, sample_scene
from training.loop import distributed
from training.loop.task import ParameterGroup, Samples, StepKind
from training.recipe.model import Optimisation, Recipe, VaeStage
from training.stages.components import Components
from training.stages.stage_task import StageTask

TEST_SEED = 99
TEST_PICTURES = 128


class VaeTask(StageTask[Tensor]):
    """Reconstruction: L1 + edges + L2 + a little KL."""

    section = VaeStage
    model: AutoencoderKL

    @classmethod
    def of(cls, recipe: Recipe, components: Components) -> Self:
        assert isinstance(recipe.stage, VaeStage)
        return cls(recipe.stage, recipe.optimisation)

    def __init__(self, stage: VaeStage, plan: Optimisation) -> None:
        self.stage = stage
        self._plan = plan
        levels = len(stage.block_channels)
        self.model = AutoencoderKL(
            latent_channels=stage.latent_channels,
            down_block_types=("DownEncoderBlock2D",) * levels,
            up_block_types=("UpDecoderBlock2D",) * levels,
            block_out_channels=stage.block_channels,
            layers_per_block=1,
            norm_num_groups=16,
            sample_size=CANVAS,
            scaling_factor=1.0,
        ).to(memory_format=torch.channels_last)

    def parameter_groups(self) -> list[ParameterGroup]:
        return [ParameterGroup(list(self.model.parameters()))]

    def draw(self, rng: np.random.Generator, step: int) -> Tensor:
        count = distributed.share_of(self._plan.batch_size, self._plan.accumulate)
        return random_pictures(rng, count).to(self.device)

    def step_kinds(self) -> tuple[StepKind, ...]:
        return (StepKind("picture", 1.0, self._plan.batch_size),)

    def example_batch(self, kind: str, count: int) -> Tensor:
        pictures = torch.zeros(count, 3, CANVAS, CANVAS, device=self.device)
        return pictures.to(memory_format=torch.channels_last)

    def batch_loss(self, batch: Tensor, rng: np.random.Generator) -> Tensor:
        pictures = batch
        posterior = self.model.encode(pictures).latent_dist
        decoded = self.model.decode(posterior.sample()).sample
        edges = sum(F.l1_loss(a, b) for a, b in zip(_edges(decoded), _edges(pictures), strict=True))
        loss: Tensor = (
            F.l1_loss(decoded, pictures)
            + self.stage.edge_weight * edges
            + F.mse_loss(decoded, pictures)
            + self.stage.kl_weight * posterior.kl().mean()
        )
        return loss

    def evaluate(self) -> dict[str, float]:
        latents = self.model.encode(self._test).latent_dist.mode()
        decoded = self.model.decode(latents).sample.clamp(-1, 1)
        mse = ((decoded - self._test) / 2).square().mean(dim=(1, 2, 3))
        return {"psnr_db": (-10 * mse.log10()).mean().item()}

    @cached_property
    def _test(self) -> Tensor:
        return random_pictures(np.random.default_rng(TEST_SEED), TEST_PICTURES).to(self.device)

    def samples(self, count: int) -> Samples | None:
        pictures = self._test[:count]
        latents = self.model.encode(pictures).latent_dist.mode()
        decoded = self.model.decode(latents).sample.clamp(-1, 1)
        pairs = torch.stack([pictures, decoded], dim=1)  # [N, 2, 3, H, W]
        return Samples((pairs + 1) / 2, ["picture, and what is left of it"] * len(pictures))

    def sample_size(self) -> str:
        return f"a picture of {CANVAS}x{CANVAS}"

    def components(self) -> dict[str, nn.Module]:
        return {".": self.model}

    def export(self, folder: Path) -> None:
        """Save with unit-variance, zero-mean latents: the affine map is folded into the weights."""
        scaled = AutoencoderKL.from_config(self.model.config)
        scaled.load_state_dict(self.model.state_dict())
        scaled.to(self._test.device)
        with torch.no_grad():
            latents = scaled.eval().encode(self._test).latent_dist.mode()
        normalise_latents(scaled, latents.mean(dim=(0, 2, 3)), latents.std(dim=(0, 2, 3)))
        scaled.save_pretrained(folder)


@torch.no_grad()
def normalise_latents(vae: AutoencoderKL, mean: Tensor, std: Tensor) -> None:
    """Make every latent channel zero-mean and of unit variance, in the 1x1 convolutions beside it.

    Decoding is unchanged; the diffusion model then needs no statistics of its own.
    """
    channels = len(mean)
    encode, decode = cast(nn.Conv2d, vae.quant_conv), cast(nn.Conv2d, vae.post_quant_conv)
    assert encode.bias is not None
    assert decode.bias is not None
    encode.weight[:channels] /= std[:, None, None, None]
    encode.bias[:channels] = (encode.bias[:channels] - mean) / std
    encode.bias[channels:] -= 2 * std.log()  # the second half of the moments is a log variance
    decode.bias += (decode.weight[:, :, 0, 0] * mean).sum(dim=1)
    decode.weight *= std[None, :, None, None]


def random_pictures(rng: np.random.Generator, count: int) -> Tensor:
    """Frames of random scenes in [-1, 1], ``[count, 3, H, W]``.

    Half of them lie anywhere on the canvas at any size, so that the autoencoder never bounds what
    the diffusion model may learn.
    """
    frames = []
    for _ in range(count):
        scene = sample_scene(rng, symmetric=0.5)
        if rng.random() < 0.5:
            scene = _anywhere(scene, rng)
        frames.append(render(scene, [int(rng.integers(16))]))
    pictures = torch.cat(frames).float() / 127.5 - 1
    return pictures.to(memory_format=torch.channels_last)


def _anywhere(scene: SyntheticScene, rng: np.random.Generator) -> SyntheticScene:
    turned = scene.motion == "spin"
    return replace(
        scene,
        motion="still",
        x=rng.uniform(10, CANVAS - 10),
        y=rng.uniform(10, CANVAS - 10),
        radius=rng.uniform(7, 20),
        angle=rng.uniform(0, 2 * math.pi) if turned else 0.0,
    )


def _edges(pictures: Tensor) -> tuple[Tensor, Tensor]:
    return pictures.diff(dim=-1), pictures.diff(dim=-2)
