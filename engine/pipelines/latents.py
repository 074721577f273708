"""Frames to latents and back, slice by slice, whatever normalisation the autoencoder states.

The latents of the UNet are `(z - mean) / std * scaling_factor` for the autoencoder's `z`, with
`latents_mean`, `latents_std`, `shift_factor` and `scaling_factor` of its configuration.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

import torch
from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
from torch import Tensor

from engine.schedulers import Generators, unit_noise

# Memory of the decoder grows with the pixels, and one such frame keeps a processor busy.
_PIXELS_AT_ONCE: Final = 512 * 512


def normalise_latents(vae: AutoencoderKL, z: Tensor) -> Tensor:
    """From the autoencoder's latents `[N, C, h, w]` to those of the UNet."""
    mean, std = _statistics(vae, z)
    factor: float = vae.config["scaling_factor"]
    return (z - mean) / std * factor


def denormalise_latents(vae: AutoencoderKL, latents: Tensor) -> Tensor:
    """From the UNet's latents `[N, C, h, w]` to those of the autoencoder."""
    mean, std = _statistics(vae, latents)
    factor: float = vae.config["scaling_factor"]
    return latents / factor * std + mean


@torch.no_grad()
def encode_frames(
    vae: AutoencoderKL,
    frames: Tensor,
    generator: Generators | None = None,
    *,
    sample: bool = True,
    chunk_size: int = 4,
) -> Tensor:
    """Encode clips frame by frame.

    Args:
        vae: the autoencoder.
        frames: `[B, F, 3, H, W]` in [0, 1].
        generator: source of the noise; one, or one per clip.
        sample: draw from the posterior; False takes its mean.
        chunk_size: frames encoded at once.

    Returns:
        float32 `[B, C, F, h, w]`, normalised for the UNet.
    """
    count = frames.shape[1]
    moments: list[tuple[Tensor, Tensor]] = []
    for chunk in frames.flatten(0, 1).split(chunk_size):
        pixels = (chunk * 2 - 1).to(device=vae.device, dtype=vae.dtype)
        posterior = vae.encode(pixels).latent_dist
        moments.append((posterior.mean.float(), posterior.std.float()))
    z = torch.cat([mean for mean, _ in moments]).unflatten(0, (-1, count))  # [B, F, C, h, w]
    if sample:
        noise = unit_noise(z.shape, generator, z.device)
        z = z + torch.cat([std for _, std in moments]).view_as(z) * noise
    latents = normalise_latents(vae, z.flatten(0, 1))
    return latents.view(-1, count, *latents.shape[1:]).transpose(1, 2).contiguous()


@torch.no_grad()
def decode_latents(
    vae: AutoencoderKL,
    latents: Tensor,
    chunk_size: int | None = None,
    *,
    before_chunk: Callable[[], None] | None = None,
) -> Tensor:
    """Decode clips frame by frame.

    Args:
        vae: the autoencoder.
        latents: `[B, C, F, h, w]`, as the UNet makes them.
        chunk_size: frames decoded at once; smaller needs less memory. None for as many as have the
            pixels of one frame of 512 x 512 together, and one at least.
        before_chunk: called before each chunk; what it raises ends the call.

    Returns:
        float32 `[B, F, 3, H, W]` in [0, 1].
    """
    count = latents.shape[2]
    if chunk_size is None:
        factor = 2 ** (len(vae.config["block_out_channels"]) - 1)
        chunk_size = max(1, _PIXELS_AT_ONCE // (latents[0, 0, 0].numel() * factor**2))
    z = denormalise_latents(vae, latents.float().transpose(1, 2).flatten(0, 1))
    decoded: list[Tensor] = []
    for chunk in z.split(chunk_size):
        if before_chunk is not None:
            before_chunk()
        pixels = vae.decode(chunk.to(vae.dtype)).sample.float() / 2 + 0.5
        decoded.append(pixels.clamp(0, 1))
    frames = torch.cat(decoded)
    return frames.view(-1, count, *frames.shape[1:])


def _statistics(vae: AutoencoderKL, like: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and deviation per channel, `[C, 1, 1]` or scalars."""
    config = vae.config
    shift = config.get("shift_factor") or 0.0
    mean = _per_channel(config.get("latents_mean"), shift, like)
    return mean, _per_channel(config.get("latents_std"), 1.0, like)


def _per_channel(values: Sequence[float] | None, default: float, like: Tensor) -> Tensor:
    if values is None:
        return torch.tensor(default, device=like.device)
    return torch.tensor(values, device=like.device, dtype=like.dtype).view(-1, 1, 1)
