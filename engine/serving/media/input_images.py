"""Turning a stranger's bytes into a picture, safely.

Used for start pictures by the engine and, before a job is made, by whatever accepts uploads.
"""

from __future__ import annotations

import io
import logging
from dataclasses import dataclass
from typing import Final

from PIL import Image, ImageOps, UnidentifiedImageError

from engine.decoding.pictures import exchanges_sides, orientation, rgb_on_white
from engine.errors import EngineError

logger = logging.getLogger(__name__)

MAX_PIXELS = 25_000_000
"""The default limit on width times height."""

START_SIDE: Final = 1440
"""The short side that a start picture needs at most; models draw clips of up to 1024 x 576."""

MIN_SIDE = 8
MAX_ASPECT = 10
FORMATS = ("PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF")


class PictureError(EngineError, ValueError):
    """The bytes are no picture that can be used; the text is one sentence for who sent them."""


@dataclass(frozen=True, slots=True)
class DecodedPicture:
    """A picture and what its file said of it.

    Attributes:
        image: RGB, upright, on white, perhaps smaller than the file's.
        width: of the file's picture in pixels, when it is upright.
        height: the same.
        turned: whether the file's pixels lie in another direction.
    """

    image: Image.Image
    width: int
    height: int
    turned: bool


def decode_picture(
    data: bytes, *, max_pixels: int = MAX_PIXELS, short_side: int | None = None
) -> Image.Image:
    """Decode an uploaded picture.

    The size is read from the header and checked before any pixel is decoded. Of an animated file
    the first frame is taken, a camera's orientation is applied, and transparency is laid on white.

    Args:
        data: an encoded picture: PNG, JPEG, WebP, GIF, BMP or TIFF.
        max_pixels: the largest accepted width times height.
        short_side: pixels that the short side needs; a picture with at least twice as many is made
            smaller by a whole factor, while it is decoded where the format can do that.

    Returns:
        An RGB picture.

    Raises:
        PictureError: the bytes are empty, damaged, of another kind, or the picture is too large,
            too small or too narrow.
    """
    return read_picture(data, max_pixels=max_pixels, short_side=short_side).image


def read_picture(
    data: bytes, *, max_pixels: int = MAX_PIXELS, short_side: int | None = None
) -> DecodedPicture:
    """Decode an uploaded picture and tell what its file said of it; see `decode_picture`."""
    if not data:
        raise PictureError("The picture is empty.")
    try:
        with Image.open(io.BytesIO(data), formats=FORMATS) as picture:
            width, height = picture.size
            _check_size(width, height, max_pixels)
            factor = _factor(width, height, short_side)
            if factor == 1 or picture.draft("RGB", (width // factor, height // factor)) is None:
                picture.load()
                # Again, since a frame of a GIF may be larger than its header says; and a TIFF has
                # been turned upright.
                width, height = picture.size
                _check_size(width, height, max_pixels)
            picture.load()
            turn = orientation(picture)
            factor = _factor(*picture.size, short_side)
            rgb = rgb_on_white(picture, factor)
    except PictureError:
        raise
    except UnidentifiedImageError:
        raise PictureError(
            "This file is not a picture that can be read. Send a PNG, JPEG, WebP or GIF."
        ) from None
    except (Image.DecompressionBombError, Image.DecompressionBombWarning):
        raise PictureError(_too_large(max_pixels)) from None
    except Exception as error:  # a stranger's bytes decide what a decoder raises
        logger.info("a picture cannot be decoded", exc_info=error)
        raise PictureError(
            "The picture is damaged or incomplete. Try saving or sending it again."
        ) from error
    if turn is not None:
        rgb = rgb.transpose(turn)
        if exchanges_sides(turn):
            width, height = height, width
    return DecodedPicture(rgb, width, height, turn is not None)


def fit_picture(picture: Image.Image, width: int, height: int) -> Image.Image:
    """Crop the largest centred part of the wanted aspect and resize it to width x height pixels."""
    return ImageOps.fit(picture, (width, height), method=Image.Resampling.LANCZOS)


def _check_size(width: int, height: int, max_pixels: int) -> None:
    if width * height > max_pixels:
        raise PictureError(f"The picture has {width} x {height} pixels. {_too_large(max_pixels)}")
    if min(width, height) < MIN_SIDE:
        raise PictureError(
            f"The picture has {width} x {height} pixels; each side needs at least {MIN_SIDE}."
        )
    if max(width, height) > MAX_ASPECT * min(width, height):
        raise PictureError(
            f"The picture has {width} x {height} pixels; one side may be at most "
            f"{MAX_ASPECT} times the other."
        )


def _too_large(max_pixels: int) -> str:
    return f"At most {max_pixels / 1e6:g} megapixels are accepted."


def _factor(width: int, height: int, short_side: int | None) -> int:
    """The whole factor by which a picture may shrink and still have its short side."""
    return 1 if short_side is None else max(1, min(width, height) // short_side)
