"""The accuracy of the judge itself: its agreement on clips whose facts are known."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from statistics import median

import numpy as np
import numpy.typing as npt
import torch
from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL

from training.data.synthetic import FPS_LABELS, MOTIONS, Split, SyntheticScene, render, sample_scene
from training.evaluation.clip_metrics import NAMES, measure_clip
from training.evaluation.prompts import Case, Prompt
from training.evaluation.records import ClipRecord
from training.evaluation.report import JudgeCheck, Report, Setting

CHECKED = ("colour", "background", "shape", "motion")


def evaluate_judge(
    n: int,
    seed: int,
    *,
    psnr: float | None = None,
    moving: float = 0.6,
    frames: int = 16,
    split: Split = "all",
) -> Report:
    """Judge ``n`` rendered scenes, degraded to ``psnr`` dB (see :func:`degrade`) if given.

    The report's rates are the judge's accuracy. A model's rates cannot be known better than
    this.
    """
    rng = np.random.default_rng(seed)
    scenes = [
        sample_scene(rng, moving=moving, symmetric=0.3, frames=frames, split=split)
        for _ in range(n)
    ]
    clips = np.stack([render(scene, range(frames)).numpy() for scene in scenes])
    if psnr is not None:
        clips = np.stack([degrade(clip, psnr, rng) for clip in clips])
    return judge_scenes(scenes, clips, {"psnr": psnr, "seed": seed})


def judge_scenes(
    scenes: Sequence[SyntheticScene], clips: npt.NDArray[np.uint8], settings: Mapping[str, Setting]
) -> Report:
    """Judge clips ``[N, F, 3, H, W]`` that show the given scenes, e.g. after a VAE."""
    records = tuple(
        ClipRecord.of(clip, _facts(scene), index, fps=scene.fps)
        for index, (scene, clip) in enumerate(zip(scenes, clips, strict=True))
    )
    return Report({**settings, "scenes": len(scenes)}, records)


def draw_every_motion(per_cell: int, seed: int, split: Split) -> list[SyntheticScene]:
    """``per_cell`` scenes for every motion at every fps label of the world."""
    rng = np.random.default_rng(seed)
    scenes: list[SyntheticScene] = []
    for motion in MOTIONS:
        found: list[SyntheticScene] = []
        while len(found) < per_cell * len(FPS_LABELS):
            scene = sample_scene(rng, split=split)
            if scene.motion == motion:
                found.append(replace(scene, fps=FPS_LABELS[len(found) % len(FPS_LABELS)]))
        scenes += found
    return scenes


def check_judge(
    scenes: Sequence[SyntheticScene], vae: AutoencoderKL | None, frames: int
) -> JudgeCheck:
    """The judge's agreement on drawn clips, or on what an autoencoder makes of them.

    What a model's autoencoder blurs away no judge can see, however good the model is.
    """
    clips = np.stack(
        [
            render(scene, range(frames)).numpy() if vae is None else reconstruct(scene, vae, frames)
            for scene in scenes
        ]
    )
    report = judge_scenes(scenes, clips, {})
    rates = {aspect: report.rates[aspect] for aspect in (*CHECKED, "steady")}
    name = "drawn clips" if vae is None else "drawn clips after the model's autoencoder"
    return JudgeCheck(name, rates)


@torch.no_grad()
def reconstruct(scene: SyntheticScene, vae: AutoencoderKL, frames: int) -> npt.NDArray[np.uint8]:
    """A scene's clip, encoded and decoded: uint8 ``[F, 3, H, W]``."""
    pixels = render(scene, range(frames)).to(vae.device, vae.dtype) / 127.5 - 1
    decoded = vae.decode(vae.encode(pixels).latent_dist.mode()).sample
    bytes_ = ((decoded.float().clamp(-1, 1) + 1) * 127.5).round().to(torch.uint8)
    result: npt.NDArray[np.uint8] = bytes_.cpu().numpy()
    return result


def reference_figures(cases: Sequence[Case], fps: int, frames: int) -> dict[str, float | None]:
    """Medians of the figures over drawn clips of the cases' scenes at an fps label."""
    measured = [measure_clip(render(replace(c.scene, fps=fps), range(frames)).numpy())
                for c in cases]  # fmt: skip
    result: dict[str, float | None] = {}
    for name in NAMES:
        values = [
            value
            for case, figures in zip(cases, measured, strict=True)
            if (value := getattr(figures, name)) is not None
            and not (name == "size_change" and case.prompt.motion in ("grow", "shrink"))
        ]
        result[name] = median(values) if values else None
    return result


def _facts(scene: SyntheticScene) -> Prompt:
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
