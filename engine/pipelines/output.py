"""Result of a pipeline, and its forms."""

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
from diffusers.utils.outputs import BaseOutput
from PIL import Image
from torch import Tensor

OutputType = Literal["pt", "latent", "pil", "np"]


@dataclass
class VideoPipelineOutput(BaseOutput):
    """Result of a pipeline.

    Attributes:
        frames: by ``output_type``: "pt" a float32 tensor ``[B, F, 3, H, W]`` in [0, 1]; "latent" a
            float32 tensor ``[B, C, F, h, w]``; "np" a float32 array ``[B, F, H, W, 3]`` in [0, 1];
            "pil" for each clip a list of PIL images.
    """

    frames: Any


def to_array(frames: Tensor) -> npt.NDArray[np.float32]:
    """``[B, F, 3, H, W]`` to an array ``[B, F, H, W, 3]``, values unchanged."""
    array: npt.NDArray[np.float32] = frames.permute(0, 1, 3, 4, 2).cpu().float().numpy()
    return array


def to_pictures(frames: Tensor) -> list[list[Image.Image]]:
    """``[B, F, 3, H, W]`` in [0, 1] to a list of pictures for each clip."""
    clips = (to_array(frames) * 255).round().astype(np.uint8)
    return [[Image.fromarray(frame) for frame in clip] for clip in clips]
