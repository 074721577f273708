"""Turning a stranger's bytes into a picture, safely.

Used for start pictures by the engine and, before a job is made, by whatever accepts uploads.
"""

from __future__ import annotations

import io

from PIL import Image, ImageOps, UnidentifiedImageError

MAX_PIXELS = 25_000_000
"""The default limit on width times height."""

MIN_SIDE = 8
MAX_ASPECT = 10
_FORMATS = ("PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF")


class PictureError(ValueError):
    """The bytes are no picture that can be used; the text is one sentence for who sent them."""


def decode_picture(data: bytes, *, max_pixels: int = MAX_PIXELS) -> Image.Image:
    """Decode an uploaded picture.

    The size is read from the header and checked before any pixel is decoded. Of an animated file
    the first frame is taken, a camera's orientation is applied, and transparency is laid on white.

    Args:
        data: an encoded picture: PNG, JPEG, WebP, GIF, BMP or TIFF.
        max_pixels: the largest accepted width times height.

    Returns:
        An RGB picture.

    Raises:
        PictureError: the bytes are empty, damaged, of another kind, or the picture is too large,
            too small or too narrow.
    """
    if not data:
        raise PictureError("The picture is empty.")
    try:
        with Image.open(io.BytesIO(data), formats=_FORMATS) as picture:
            _check_size(picture.width, picture.height, max_pixels)
            picture.load()
            # Again, since a frame of a GIF may be larger than its header says.
            _check_size(picture.width, picture.height, max_pixels)
            return _upright_rgb(picture)
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
    ) as error:
        # What Pillow's decoders raise for damaged files, depending on the format.
        raise PictureError(
            "The picture is damaged or incomplete. Try saving or sending it again."
        ) from error


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


def _upright_rgb(picture: Image.Image) -> Image.Image:
    upright = ImageOps.exif_transpose(picture)
    if upright.mode in {"I", "I;16", "I;16B", "I;16L", "I;16N"}:
        # Pillow's own conversion clips 16-bit greys instead of scaling them.
        upright = upright.convert("I").point(lambda value: value / 256).convert("L")
    if upright.has_transparency_data:
        rgba = upright.convert("RGBA")
        white = Image.new("RGBA", rgba.size, "white")
        return Image.alpha_composite(white, rgba).convert("RGB")
    return upright.convert("RGB")
