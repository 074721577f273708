"""Metadata of a converted folder."""

from __future__ import annotations

import re
from typing import Final

from engine.checkpoints.folder.metadata import ModelMetadata, Origin
from engine.checkpoints.original.config import OriginalConfig
from engine.checkpoints.original.presets import LICENCE, Preset
from engine.checkpoints.original.sizes import working_sizes

_FPS: Final = (8, 12, 16, 24, 28)
_PLAYBACK_FPS: Final = 10  # at which the public scripts save, whatever the label
_FRAMES: Final = 16  # of the released models, where the configuration is silent
_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")


def folder_metadata(
    config: OriginalConfig,
    *,
    preset: Preset | None,
    folder: str,
    size_divisor: int,
    origin: Origin | None = None,
) -> ModelMetadata:
    """The contents of ``floor33.json``. Guidance and rates are those of the public scripts.

    Args:
        config: the architecture.
        preset: the published model it is, or None.
        folder: the folder's name, which names a model that is not published.
        size_divisor: sizes are multiples of that many pixels.
        origin: where the checkpoint was fetched from, if it was.
    """
    encoder = config.first_stage_config.ddconfig
    if config.image_size is not None:
        factor = 2 ** (len(encoder.ch_mult) - 1)
        height, width = (side * factor for side in config.image_size)
    else:
        height = width = max(encoder.resolution // size_divisor, 1) * size_divisor
    name = preset.name if preset else (folder if _NAME.fullmatch(folder) else "converted")
    return ModelMetadata(
        name=name,
        title=preset.title if preset else name,
        task="image-to-video" if config.wants_image else "text-to-video",
        width=width,
        height=height,
        sizes=working_sizes(width, height, size_divisor),
        num_frames=config.unet_config.get("temporal_length", _FRAMES),
        fps=_FPS,
        default_fps=preset.default_fps if preset else _FPS[0],
        playback_fps=_PLAYBACK_FPS,
        # The published scripts take 50 steps of their own DDIM with full noise. Second-order
        # DPM-Solver++ on the same schedule comes nearer to the converged clip in half of them
        # (benchmarks/README.md) and can run any number of steps. The published sampling stays one
        # word away: "ddim-original" is served with the eta of those scripts.
        default_steps=25,
        max_steps=100,
        default_guidance=12.0,
        max_guidance=20.0,
        scheduler="dpm++2m",
        licence=LICENCE if preset else "not stated",
        origin=origin,
    )
