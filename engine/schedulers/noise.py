"""Unit noise: drawn reproducibly, or handed in for replay."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeAlias

import torch
from diffusers.utils.torch_utils import randn_tensor
from torch import Tensor

Generators: TypeAlias = torch.Generator | Sequence[torch.Generator]


def unit_noise(
    shape: Sequence[int], generator: Generators | None, device: torch.device | str
) -> Tensor:
    """Draw float32 unit noise.

    With one generator per sample, a seed gives the same sample whatever the batch. A generator on
    the CPU gives the same noise on every device.

    Args:
        shape: `[B, ...]`.
        generator: None for the default one of torch, one for the batch, or `B` of them.
        device: of the noise.

    Raises:
        ValueError: the number of generators is not the batch size.
    """
    source: torch.Generator | list[torch.Generator] | None
    if generator is None or isinstance(generator, torch.Generator):
        source = generator
    else:
        source = list(generator)
        if len(source) != shape[0]:
            raise ValueError(f"generator: one, or {shape[0]} of them, got {len(source)}")
    noise: Tensor = randn_tensor(
        tuple(shape), generator=source, device=torch.device(device), dtype=torch.float32
    )
    return noise


def clip_noise(
    shape: Sequence[int],
    generator: Generators | None,
    device: torch.device | str,
    *,
    shared: float = 0.0,
) -> Tensor:
    """Draw float32 unit noise for clips, of which the frames may have a part in common.

    The mixed noise of PYoCo (arXiv 2305.10474, section 4.1): frames that begin alike stay alike,
    which spares a small network most of the work of keeping an object steady.

    Args:
        shape: `[B, C, F, h, w]`.
        generator: see `unit_noise`.
        device: where the noise shall lie.
        shared: share of the variance that all frames of a clip have in common, 0 (the released
            models) to 1.
    """
    own = unit_noise(shape, generator, device)
    if shared == 0:
        return own
    batch, channels, _, height, width = shape
    common = unit_noise((batch, channels, 1, height, width), generator, device)
    mixed: Tensor = shared**0.5 * common + (1 - shared) ** 0.5 * own
    return mixed


def step_noise(like: Tensor, generator: Generators | None, variance_noise: Tensor | None) -> Tensor:
    """Unit noise of one step in the shape, type and place of `like`.

    Args:
        like: the latent of the step, `[B, ...]`.
        generator: see `unit_noise`.
        variance_noise: the noise itself; excludes `generator`.

    Raises:
        ValueError: both sources are given, or the given noise has another shape.
    """
    if variance_noise is None:
        return unit_noise(like.shape, generator, like.device).to(like.dtype)
    if generator is not None:
        raise ValueError("variance_noise: give either variance_noise or generator, not both")
    if variance_noise.shape != like.shape:
        raise ValueError(
            f"variance_noise: shape {tuple(like.shape)}, got {tuple(variance_noise.shape)}"
        )
    return variance_noise.to(device=like.device, dtype=like.dtype)
