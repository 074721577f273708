"""Checks of what a caller asks of a pipeline; every refusal names the argument and the range."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import isfinite
from numbers import Integral, Real
from typing import get_args

import torch
from torch import Tensor

from engine.models.unet import TEXT_TOKENS
from engine.pipelines.output import OutputType

MAX_FPS = 240


@dataclass(frozen=True, slots=True)
class ClipShape:
    """Size of a clip.

    Attributes:
        frames: number of frames.
        height: in pixels.
        width: in pixels.
        channels: of the latent.
        factor: pixels for one latent position along an axis.
    """

    frames: int
    height: int
    width: int
    channels: int
    factor: int

    def latents(self, batch: int) -> tuple[int, int, int, int, int]:
        """Shape of the latents, `[B, C, F, h, w]`."""
        latent_height, latent_width = self.height // self.factor, self.width // self.factor
        return (batch, self.channels, self.frames, latent_height, latent_width)


def clip_shape(
    *,
    frames: int | None,
    height: int | None,
    width: int | None,
    latents: Tensor | None,
    default_frames: int,
    channels: int,
    factor: int,
    divisor: int,
) -> ClipShape:
    """Settle the size of the clip from the arguments and the latents.

    Args:
        frames: number of frames; None for that of the latents, else the default.
        height: in pixels; None for that of the latents.
        width: likewise.
        latents: starting noise, or None.
        default_frames: frames of a clip the network was trained on.
        channels: of the latent.
        factor: pixels for one latent position along an axis.
        divisor: height and width must be multiples of it.

    Raises:
        ValueError: a size is missing, out of range, or not that of the latents.
    """
    if latents is not None:
        wanted = f"a float tensor [B, {channels}, F, h, w]"
        _check_float_tensor("latents", latents, wanted)
        if latents.ndim != 5:
            raise ValueError(f"latents: {wanted}, got {latents.dtype} {list(latents.shape)}")
        frames = latents.shape[2] if frames is None else frames
        height = latents.shape[3] * factor if height is None else height
        width = latents.shape[4] * factor if width is None else width
    frames = default_frames if frames is None else frames
    if not _is_whole(frames) or frames < 1:
        raise ValueError(f"num_frames: a whole number of at least 1, got {frames}")
    return ClipShape(
        frames=int(frames),
        height=_side("height", height, divisor),
        width=_side("width", width, divisor),
        channels=channels,
        factor=factor,
    )


def check_tensor(name: str, tensor: Tensor | None, shape: Sequence[int]) -> None:
    """Raise unless a value is a float tensor of that shape, or None."""
    if tensor is None:
        return
    _check_float_tensor(name, tensor, f"a tensor {list(shape)} of floating point numbers")
    if tuple(tensor.shape) != tuple(shape):
        raise ValueError(f"{name}: shape {list(shape)}, got {list(tensor.shape)}")


def check_embeds(name: str, embeds: Tensor | None, tokens: int, width: int) -> None:
    """Raise unless features are a float tensor `[B, tokens, width]`, B >= 1, or None."""
    if embeds is None:
        return
    wanted = f"[B, {tokens}, {width}]"
    _check_float_tensor(name, embeds, f"a float tensor {wanted}")
    fits = embeds.ndim == 3 and tuple(embeds.shape[1:]) == (tokens, width) and len(embeds) > 0
    if not fits:
        raise ValueError(f"{name}: shape {wanted}, B at least 1, got {list(embeds.shape)}")


def check_prompt_embeds(name: str, embeds: Tensor | None, width: int) -> None:
    """Raise unless text features are a float tensor `[B, 77, width]`, or None."""
    check_embeds(name, embeds, TEXT_TOKENS, width)


def prompt_list(name: str, prompt: str | Sequence[str] | None) -> list[str]:
    """A prompt or several as a list.

    Raises:
        ValueError: neither a text nor a list of at least one text.
    """
    prompts = [prompt] if isinstance(prompt, str) else prompt
    if (
        not isinstance(prompts, Sequence)
        or not prompts
        or not all(isinstance(text, str) for text in prompts)
    ):
        raise ValueError(f"{name}: a text or a list of texts, got {prompt!r}")
    return list(prompts)


def repeat_to(name: str, values: Tensor, batch: int) -> Tensor:
    """Repeat one entry for the whole batch; as many entries as the batch stay as they are.

    Raises:
        ValueError: another number of entries.
    """
    if len(values) not in (1, batch):
        raise ValueError(f"{name}: one, or one for each of {batch} prompts, got {len(values)}")
    return values.expand(batch, *values.shape[1:])


def fps_tensor(
    fps: int | Sequence[int] | Tensor | None, batch: int, per_prompt: int, device: torch.device
) -> Tensor | None:
    """Frame rates of all clips, `[B * per_prompt]`, or None for the network's default.

    Raises:
        ValueError: a rate out of range, or another number of rates than prompts.
    """
    if fps is None:
        return None
    refusal = f"fps: whole numbers from 0 to {MAX_FPS}, got {fps!r}"
    try:
        values = torch.as_tensor(fps, device=device).reshape(-1)
    except (TypeError, ValueError, RuntimeError) as error:
        raise ValueError(refusal) from error
    whole = not values.is_floating_point() and values.dtype is not torch.bool
    if not whole or not bool(((values >= 0) & (values <= MAX_FPS)).all()):
        raise ValueError(refusal)
    return repeat_to("fps", values, batch).repeat_interleave(per_prompt)


def check_numbers(
    *,
    guidance_scale: float,
    num_videos_per_prompt: int,
    decode_chunk_size: int | None,
    output_type: str,
) -> None:
    """Check the plain settings of a call.

    Raises:
        ValueError: a value is out of range.
    """
    if not _is_finite(guidance_scale) or guidance_scale < 0:
        raise ValueError(f"guidance_scale: a finite number of at least 0, got {guidance_scale}")
    for name, value in (
        ("num_videos_per_prompt", num_videos_per_prompt),
        ("decode_chunk_size", decode_chunk_size),
    ):
        if value is not None and (not _is_whole(value) or value < 1):
            raise ValueError(f"{name}: a whole number of at least 1, got {value}")
    if output_type not in get_args(OutputType):
        known = ", ".join(get_args(OutputType))
        raise ValueError(f"output_type: one of {known}, got {output_type!r}")


def check_generators(generator: object, batch: int) -> None:
    """Raise for anything but None, a generator, or `batch` generators."""
    if generator is None or isinstance(generator, torch.Generator):
        return
    if (
        not isinstance(generator, Sequence)
        or len(generator) != batch
        or not all(isinstance(one, torch.Generator) for one in generator)
    ):
        raise ValueError(f"generator: a torch.Generator, or a list of {batch}, got {generator!r}")


def _check_float_tensor(name: str, value: object, wanted: str) -> None:
    if not isinstance(value, Tensor):
        raise ValueError(f"{name}: {wanted}, got {type(value).__name__}")
    if not value.is_floating_point():
        raise ValueError(f"{name}: {wanted}, got {value.dtype} {list(value.shape)}")


def _side(name: str, value: int | None, divisor: int) -> int:
    if value is None or not _is_whole(value) or value < divisor or value % divisor:
        raise ValueError(f"{name}: a positive multiple of {divisor} pixels, got {value}")
    return int(value)


def _is_whole(value: object) -> bool:
    # Integral, for sizes often come out of numpy.
    return isinstance(value, Integral) and not isinstance(value, bool)


def _is_finite(value: object) -> bool:
    return isinstance(value, Real) and isfinite(value)
