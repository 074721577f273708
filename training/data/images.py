"""Pixels of pictures and frames: reading pictures, resizing, cropping, finding cuts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import IO

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from engine.decoding.pictures import exchanges_sides, orientation
from engine.serving.media.input_images import FORMATS, MAX_PIXELS, PictureError, decode_picture
from training.data.buckets import Bucket
from training.data.errors import SampleError

_THUMBNAIL = 32
_CUT_OVER_USUAL = 3.0


def picture_size(file: IO[bytes]) -> tuple[int, int]:
    """Width and height in pixels as shown, from the header alone.

    Raises:
        SampleError: the file is no picture.
    """
    try:
        with Image.open(file, formats=FORMATS) as picture:
            width, height = picture.size
            turned = exchanges_sides(orientation(picture))
    except Exception as error:  # a stranger's bytes decide what a decoder raises
        too_many = isinstance(error, Image.DecompressionBombError)
        reason = "too many pixels" if too_many else "broken picture"
        raise SampleError(reason, str(error) or type(error).__name__) from error
    return (height, width) if turned else (width, height)


def read_picture(data: bytes) -> npt.NDArray[np.uint8]:
    """Decode a picture to sRGB ``[H, W, 3]``, upright, on white where it is transparent.

    Raises:
        SampleError: it is damaged, or has more than 25 million pixels.
    """
    try:
        return np.array(decode_picture(data, max_pixels=MAX_PIXELS))
    except PictureError as error:
        raise SampleError("broken picture", str(error)) from error


def fit(
    frame: npt.NDArray[np.uint8], bucket: Bucket, place: tuple[float, float] = (0.5, 0.5)
) -> Tensor:
    """Resize a frame until it covers the bucket, antialiased, and crop the rest.

    Args:
        frame: ``[h, w, 3]``.
        bucket: the size to cover.
        place: of the crop, 0 to 1 from left to right and from top to bottom.

    Returns:
        uint8 ``[3, H, W]``.
    """
    height, width = frame.shape[:2]
    scale = max(bucket.width / width, bucket.height / height)
    size = (max(bucket.height, round(height * scale)), max(bucket.width, round(width * scale)))
    pixels = torch.from_numpy(frame).permute(2, 0, 1)[None]  # [1, 3, h, w], channels last
    if size != (height, width):
        pixels = F.interpolate(pixels, size=size, mode="bicubic", antialias=True)
    left = round((size[1] - bucket.width) * place[0])
    top = round((size[0] - bucket.height) * place[1])
    crop = pixels[0, :, top : top + bucket.height, left : left + bucket.width]
    return crop.contiguous()


def find_cuts(frames: Tensor, threshold: float) -> list[int]:
    """Frames that begin another scene.

    A frame does where its thumbnail differs from the one before by at least ``threshold`` (mean
    absolute difference, of 1) and by three times what is usual among the clip's other frames, so
    that fast movement, which changes all frames, is no cut.

    Args:
        frames: uint8 ``[F, 3, H, W]``.
        threshold: 0 finds none.

    Returns:
        Indices from 1 to F - 1, in order.
    """
    if threshold == 0 or len(frames) < 2:
        return []
    small = F.interpolate(frames.float() / 255, size=(_THUMBNAIL, _THUMBNAIL), mode="area")
    changes = (small[1:] - small[:-1]).abs().mean(dim=(1, 2, 3)).tolist()  # [F - 1]
    return [
        index + 1
        for index, change in enumerate(changes)
        if change >= threshold and change >= _CUT_OVER_USUAL * _usual(changes, index)
    ]


def _usual(changes: Sequence[float], index: int) -> float:
    others = [change for other, change in enumerate(changes) if other != index]
    return float(np.median(others)) if others else 0.0
