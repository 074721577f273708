"""Turning a stranger's bytes into a picture, safely.

Used for start pictures by the engine and, before a job is made, by whatever accepts uploads.
"""

from __future__ import annotations

import io
import struct
from dataclasses import dataclass
from typing import Final

from PIL import Image, ImageOps, UnidentifiedImageError

MAX_PIXELS = 25_000_000
"""The default limit on width times height."""

START_SIDE: Final = 1440
"""The short side that a start picture needs at most; models draw clips of up to 1024 x 576."""

MIN_SIDE = 8
MAX_ASPECT = 10
_FORMATS = ("PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF")
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


class PictureError(ValueError):
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
        with Image.open(io.BytesIO(data), formats=_FORMATS) as picture:
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
            turn = _turn(picture)
            factor = _factor(*picture.size, short_side)
            rgb = _rgb(picture, factor)
    except PictureError:
        raise
    except UnidentifiedImageError:
        raise PictureError(
            "This file is not a picture that can be read. Send a PNG, JPEG, WebP or GIF."
        ) from None
    except (Image.DecompressionBombError, Image.DecompressionBombWarning):
        raise PictureError(_too_large(max_pixels)) from None
    except (
        OSError,
        SyntaxError,
        ValueError,
        EOFError,
        IndexError,
        KeyError,
        OverflowError,
        TypeError,
        struct.error,
    ) as error:
        # What Pillow's decoders raise for damaged files, depending on the format.
        raise PictureError(
            "The picture is damaged or incomplete. Try saving or sending it again."
        ) from error
    if turn is not None:
        rgb = rgb.transpose(turn)
        if turn not in _STANDING:
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


def _turn(picture: Image.Image) -> Image.Transpose | None:
    """How to set a picture upright, by its EXIF or XMP notes; None if nothing has to be done.

    Only this one note is read: `ImageOps.exif_transpose` would write all of them anew, and fail
    over one of them that is odd.
    """
    try:
        orientation = picture.getexif().get(_ORIENTATION)
    except (OSError, SyntaxError, ValueError, KeyError, IndexError, TypeError, struct.error):
        return None  # notes that cannot be read say nothing
    return _TURNS.get(orientation) if isinstance(orientation, int) else None


def _rgb(picture: Image.Image, factor: int) -> Image.Image:
    """The picture in RGB, on white, made smaller by a whole factor; a band at a time."""
    width, height = picture.size
    result = Image.new("RGB", (-(-width // factor), -(-height // factor)))
    rows = max(1, _BAND_PIXELS // (width * factor)) * factor
    for top in range(0, height, rows):
        band = _on_white(picture.crop((0, top, width, min(top + rows, height))))
        result.paste(band if factor == 1 else band.reduce(factor), (0, top // factor))
    return result


def _on_white(picture: Image.Image) -> Image.Image:
    if picture.mode in {"I", "I;16", "I;16B", "I;16L", "I;16N"}:
        # Pillow's own conversion clips 16-bit greys instead of scaling them.
        picture = picture.convert("I").point(lambda value: value / 256).convert("L")
    if picture.has_transparency_data:
        rgba = picture.convert("RGBA")
        white = Image.new("RGBA", rgba.size, "white")
        return Image.alpha_composite(white, rgba).convert("RGB")
    return picture.convert("RGB")
