"""What a converted folder states about itself."""

from __future__ import annotations

import re
from typing import Final

from engine.checkpoints.facts import ModelFacts
from engine.checkpoints.original.config import OriginalConfig
from engine.checkpoints.original.presets import LICENCE, PRESETS

_FPS: Final = (8, 12, 16, 24, 28)
_FRAMES: Final = 16  # of the released models, where the configuration is silent
_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")


def folder_facts(
    config: OriginalConfig, *, preset: str | None, folder: str, size_divisor: int
) -> ModelFacts:
    """The contents of ``floor33.json``. Models are sampled as the public scripts sample them.

    Args:
        config: the architecture.
        preset: the published model it is, or None.
        folder: the folder's name, which names a model that is not published.
        size_divisor: sizes are multiples of that many pixels.
    """
    encoder = config.first_stage_config.ddconfig
    if config.image_size is not None:
        factor = 2 ** (len(encoder.ch_mult) - 1)
        height, width = (side * factor for side in config.image_size)
    else:
        height = width = max(encoder.resolution // size_divisor, 1) * size_divisor
    name = preset or (folder if _NAME.fullmatch(folder) else "converted")
    return ModelFacts(
        name=name,
        title=PRESETS[preset].title if preset else name,
        task="image-to-video" if config.wants_image else "text-to-video",
        width=width,
        height=height,
        num_frames=config.unet_config.get("temporal_length", _FRAMES),
        fps=_FPS,
        default_fps=PRESETS[preset].default_fps if preset else _FPS[0],
        default_steps=50,
        max_steps=100,
        default_guidance=12.0,
        max_guidance=20.0,
        scheduler="ddim-original",
        licence=LICENCE if preset else "not stated",
    )
