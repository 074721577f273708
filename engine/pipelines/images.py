"""From pictures to the pixels that CLIP's image encoder takes, as the reference prepares them.

Pure functions on float tensors ``[B, 3, H, W]`` with values in [0, 1].
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from engine.decoding.pictures import upright_rgb

_ACCEPTED = "a PIL image, a uint8 or float tensor, or a list of them"

_CLIP_MEAN = (0.48145466, 0.4578275, 0.40821073)
_CLIP_STD = (0.26862954, 0.26130258, 0.27577711)
_MID_GREY = 0.5


def to_pixels(image: object) -> Tensor:
    """Pictures in any accepted form as one tensor.

    Args:
        image: a PIL image (in its colour profile, turned upright, laid on white where it is
            transparent), a tensor ``[3, H, W]`` or ``[B, 3, H, W]`` (uint8, or float in [0, 1]),
            or a list of such pictures of one size.

    Returns:
        float32 ``[B, 3, H, W]`` in [0, 1].

    Raises:
        ValueError: something else, values out of range, or pictures of different sizes.
    """
    if isinstance(image, Image.Image):
        return _from_pil(image)
    if isinstance(image, Tensor):
        return _from_tensor(image)
    if isinstance(image, Sequence) and not isinstance(image, str | bytes) and image:
        pictures = [to_pixels(one) for one in image]
        if len({picture.shape[-2:] for picture in pictures}) > 1:
            raise ValueError("image: pictures of one size in a list")
        return torch.cat(pictures)
    raise ValueError(f"image: {_ACCEPTED}, got {type(image).__name__}")


def _from_pil(image: Image.Image) -> Tensor:
    upright = upright_rgb(image)
    data = torch.frombuffer(bytearray(upright.tobytes()), dtype=torch.uint8)
    pixels = data.reshape(1, upright.height, upright.width, 3).permute(0, 3, 1, 2)
    return pixels.float() / 255


def _from_tensor(image: Tensor) -> Tensor:
    pixels = image if image.ndim == 4 else image.unsqueeze(0)
    if pixels.ndim != 4 or pixels.shape[1] != 3 or 0 in pixels.shape:
        raise ValueError(f"image: shape [3, H, W] or [B, 3, H, W], got {list(image.shape)}")
    if pixels.dtype == torch.uint8:
        return pixels.float() / 255
    if not pixels.is_floating_point():
        raise ValueError(f"image: a uint8 or float tensor, got {pixels.dtype}")
    if not bool(((pixels >= 0) & (pixels <= 1)).all()):
        raise ValueError("image: values of a float tensor from 0 to 1")
    return pixels.float()


def fit_to_clip_size(pixels: Tensor, height: int, width: int) -> Tensor:
    """Bring a picture to the size of the clip: bilinear, without care for its aspect ratio."""
    if pixels.shape[-2:] == (height, width):
        return pixels
    return F.interpolate(pixels, (height, width), mode="bilinear", align_corners=False)


def resize_like_reference(pixels: Tensor, size: int) -> Tensor:
    """Resize to ``size`` x ``size``: Gaussian blur where an axis shrinks, then bicubic.

    Args:
        pixels: ``[B, 3, H, W]``.
        size: side of the result.

    Returns:
        ``[B, 3, size, size]``; bicubic weights may lead slightly out of the range of the input.
    """
    factors = [side / size for side in pixels.shape[-2:]]
    if max(factors) > 1:
        pixels = _blur(pixels, factors)
    return F.interpolate(pixels, (size, size), mode="bicubic", align_corners=True)


def clip_pixels(pixels: Tensor, size: int) -> Tensor:
    """Prepare a picture for the image encoder.

    Args:
        pixels: ``[B, 3, H, W]`` in [0, 1].
        size: the encoder's image size.

    Returns:
        ``[B, 3, size, size]``, normalised with CLIP's mean and deviation.
    """
    return _normalise(resize_like_reference(pixels, size))


def unconditional_pixels(size: int) -> Tensor:
    """Return the image encoder's input for no picture: mid grey, ``[1, 3, size, size]``."""
    return _normalise(torch.full((1, 3, size, size), _MID_GREY))


def _normalise(pixels: Tensor) -> Tensor:
    mean = torch.tensor(_CLIP_MEAN, device=pixels.device).view(3, 1, 1)
    std = torch.tensor(_CLIP_STD, device=pixels.device).view(3, 1, 1)
    return (pixels - mean) / std


def _blur(pixels: Tensor, factors: Sequence[float]) -> Tensor:
    """Gaussian blur per axis, as wide as the axis shrinks; borders are reflected."""
    kernel_y, kernel_x = (_gaussian(factor).to(pixels) for factor in factors)
    pad_y, pad_x = len(kernel_y) // 2, len(kernel_x) // 2
    channels = pixels.shape[1]
    padded = F.pad(pixels, (pad_x, pad_x, pad_y, pad_y), mode="reflect")
    rows = F.conv2d(padded, kernel_y.view(1, 1, -1, 1).repeat(channels, 1, 1, 1), groups=channels)
    return F.conv2d(rows, kernel_x.view(1, 1, 1, -1).repeat(channels, 1, 1, 1), groups=channels)


def _gaussian(factor: float) -> Tensor:
    sigma = max((factor - 1) / 2, 0.001)
    length = int(max(4 * sigma, 3)) | 1  # the next odd number
    distance = torch.arange(length) - length // 2
    weights = torch.exp(-(distance**2) / (2 * sigma**2))
    return weights / weights.sum()
