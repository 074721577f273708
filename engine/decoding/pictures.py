"""PIL pictures as sRGB pixels: colour profile, orientation, depth and transparency are heeded."""

from __future__ import annotations

import io
import logging
import struct
from collections.abc import Callable
from typing import Final, Literal

import numpy as np
from PIL import Image, ImageCms

logger = logging.getLogger(__name__)

_ORIENTATION: Final = 0x0112
_TURNS: Final = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_STANDING: Final = frozenset(
    {
        Image.Transpose.FLIP_LEFT_RIGHT,
        Image.Transpose.ROTATE_180,
        Image.Transpose.FLIP_TOP_BOTTOM,
    }
)
"""Turns that leave width and height as they are."""

_BAND_PIXELS: Final = 2**20
"""Pixels that are converted at a time: what is not yet RGB shall not be copied whole."""

_DEEP_GREY: Final = frozenset({"I", "I;16", "I;16B", "I;16L", "I;16N"})
_GREY: Final = frozenset({"1", "L", "LA", "La", *_DEEP_GREY})
_MAX_PROFILE_BYTES: Final = 2**24
_SAME: Final = 2
"""Levels by which a profile may differ from sRGB and still be taken for it."""

_Convert = Callable[[Image.Image], Image.Image]


def orientation(picture: Image.Image) -> Image.Transpose | None:
    """Return the turn that sets a picture upright, by its EXIF or XMP notes, or None.

    Only this one note is read: `ImageOps.exif_transpose` would write all of them anew, and fail
    over one of them that is odd.
    """
    try:
        value = picture.getexif().get(_ORIENTATION)
    except (
        *(OSError, SyntaxError, ValueError, LookupError, TypeError, AttributeError),
        *(ArithmeticError, RuntimeError, MemoryError, struct.error),
    ):
        return None  # notes that cannot be read say nothing
    return _TURNS.get(value) if isinstance(value, int) else None


def exchanges_sides(turn: Image.Transpose | None) -> bool:
    """Return True if a turn makes the width the height."""
    return turn is not None and turn not in _STANDING


def upright_rgb(picture: Image.Image) -> Image.Image:
    """The picture in sRGB, upright, on white where it is transparent."""
    turn = orientation(picture)
    rgb = rgb_on_white(picture)
    return rgb if turn is None else rgb.transpose(turn)


def rgb_on_white(picture: Image.Image, factor: int = 1) -> Image.Image:
    """The picture in sRGB, on white where it is transparent, not turned; a band at a time.

    A colour profile is applied; one that is broken or of another kind of picture is ignored.

    Args:
        picture: of any mode; greys of 16 bits are scaled.
        factor: a whole factor to make it smaller by.
    """
    width, height = picture.size
    result = Image.new("RGB", (-(-width // factor), -(-height // factor)))
    convert = _profile_conversion(picture)
    rows = max(1, _BAND_PIXELS // (width * factor)) * factor
    for top in range(0, height, rows):
        band = _on_white(picture.crop((0, top, width, min(top + rows, height))), convert)
        result.paste(band if factor == 1 else band.reduce(factor), (0, top // factor))
    return result


def _on_white(picture: Image.Image, convert: _Convert | None) -> Image.Image:
    if picture.mode in _DEEP_GREY:
        # Pillow's own conversion clips 16-bit greys instead of scaling them.
        picture = picture.convert("I").point(lambda value: value / 256).convert("L")
    if not picture.has_transparency_data:
        return picture.convert("RGB") if convert is None else convert(picture)
    rgba = picture.convert("RGBA")
    if convert is not None:
        grey = picture.mode in _GREY
        colours = convert(rgba.convert("L" if grey else "RGB"))
        colours.putalpha(rgba.getchannel("A"))
        rgba = colours
    white = Image.new("RGBA", rgba.size, "white")
    return Image.alpha_composite(white, rgba).convert("RGB")


def _profile_conversion(picture: Image.Image) -> _Convert | None:
    """Return a conversion to sRGB for pictures without transparency; None: Pillow's will do."""
    try:
        if picture.mode == "LAB":
            return _conversion(ImageCms.ImageCmsProfile(ImageCms.createProfile("LAB")), "LAB")
        data = picture.info.get("icc_profile")
        if not isinstance(data, bytes) or not 0 < len(data) <= _MAX_PROFILE_BYTES:
            return None
        profile = ImageCms.ImageCmsProfile(io.BytesIO(data))
        space = str(profile.profile.xcolor_space).strip()
        if space == "GRAY" and picture.mode in _GREY:
            return _conversion(profile, "L")
        if space == "CMYK" and picture.mode == "CMYK":
            return _conversion(profile, "CMYK")
        if space == "RGB" and picture.mode != "CMYK":
            return _conversion(profile, "RGB")
    except (ImageCms.PyCMSError, OSError, ValueError, TypeError, AttributeError) as error:
        logger.info("a colour profile is ignored: %s", error)
    return None


def _conversion(
    profile: ImageCms.ImageCmsProfile,
    mode: Literal["RGB", "L", "CMYK", "LAB"],
) -> _Convert | None:
    transform = ImageCms.buildTransform(profile, ImageCms.createProfile("sRGB"), mode, "RGB")

    def convert(picture: Image.Image) -> Image.Image:
        source = picture if picture.mode == mode else picture.convert(mode)
        return transform.apply(source)

    # A picture that is sRGB already keeps its pixels to the last bit.
    return None if mode in {"RGB", "L"} and _changes_nothing(convert, mode) else convert


def _changes_nothing(convert: _Convert, mode: str) -> bool:
    if mode == "L":
        sample = Image.fromarray(np.arange(256, dtype=np.uint8)[None])
    else:
        steps = np.linspace(0, 255, 9, dtype=np.uint8)
        grid = np.stack(np.meshgrid(steps, steps, steps, indexing="ij"), axis=-1)
        sample = Image.fromarray(np.ascontiguousarray(grid.reshape(27, 27, 3)))
    before = np.asarray(sample.convert("RGB"), np.int16)
    after = np.asarray(convert(sample), np.int16)
    return int(np.abs(after - before).max()) <= _SAME
