"""How far the judge itself can be trusted: its agreement on clips whose facts are known."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from training.data.world import Scene, render, sample_scene
from training.evaluation.prompts import Prompt
from training.evaluation.report import ClipRecord, Report
from training.judge import judge


def evaluate_judge(
    n: int, seed: int, *, psnr: float | None = None, moving: float = 0.6, frames: int = 16
) -> Report:
    """Judge ``n`` rendered scenes, degraded to ``psnr`` dB (see :func:`degrade`) if given.

    The report's rates are the judge's accuracy. A model's rates cannot be known better than
    this.
    """
    rng = np.random.default_rng(seed)
    scenes = [sample_scene(rng, moving=moving, symmetric=0.3, frames=frames) for _ in range(n)]
    clips = np.stack([render(scene, range(frames)).numpy() for scene in scenes])
    if psnr is not None:
        clips = np.stack([degrade(clip, psnr, rng) for clip in clips])
    return judge_scenes(scenes, clips, {"psnr": psnr, "seed": seed})


def judge_scenes(
    scenes: Sequence[Scene],
    clips: npt.NDArray[np.uint8],
    settings: dict[str, str | int | float | bool | None],
) -> Report:
    """Judge clips ``[N, F, 3, H, W]`` that show the given scenes, e.g. after a VAE."""
    records = [
        ClipRecord(_facts(scene), index, judge(clip))
        for index, (scene, clip) in enumerate(zip(scenes, clips, strict=True))
    ]
    return Report({**settings, "scenes": len(scenes)}, tuple(records), clips)


def _facts(scene: Scene) -> Prompt:
    text = f"{scene.colour} {scene.shape} {scene.motion} on {scene.background}, {scene.fps} fps"
    return Prompt(text, scene.colour, scene.background, scene.shape, scene.motion)


def degrade(
    clip: npt.NDArray[np.uint8], psnr: float, rng: np.random.Generator, *, blur: float = 0.8
) -> npt.NDArray[np.uint8]:
    """Spoil a clip ``[F, 3, H, W]`` about as a small VAE does.

    Edges are softened by a Gaussian of ``blur`` px, then noise, most of it correlated over a
    few pixels, fills up to the error of ``psnr`` dB. A blur that alone costs more gets a noise
    of 2 of 255.
    """
    clean = clip.astype(np.float64)
    height, width = clip.shape[-2:]
    soft = _gaussian(height, blur) @ clean @ _gaussian(width, blur).T
    allowed = 255.0**2 / 10 ** (psnr / 10)
    power = max(allowed - float(np.mean((soft - clean) ** 2)), 4.0)
    coarse = _gaussian(height, 1.0) @ rng.standard_normal(clip.shape) @ _gaussian(width, 1.0).T
    noise = 0.8 * coarse / coarse.std() + 0.6 * rng.standard_normal(clip.shape)
    spoilt = soft + math.sqrt(power) * noise
    pixels: npt.NDArray[np.uint8] = spoilt.round().clip(0, 255).astype(np.uint8)
    return pixels


def _gaussian(size: int, sigma: float) -> npt.NDArray[np.float64]:
    """The matrix ``[size, size]`` of a Gaussian blur along one axis, renormalised at the edges."""
    position = np.arange(size)
    weight = np.exp(-((position[:, None] - position[None, :]) ** 2) / (2 * sigma * sigma))
    normal: npt.NDArray[np.float64] = weight / weight.sum(axis=1, keepdims=True)
    return normal
