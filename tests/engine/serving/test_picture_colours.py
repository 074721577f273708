"""A picture's colour profile, depth and transparency count, in whatever file it comes."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageCms

from benchmarks.colour_cases import (
    PRIMARIES,
    icc_profile,
    largest_error,
    meant_in_srgb,
    patches,
    picture_file,
)
from engine.pipelines.images import to_pixels
from engine.serving.media.input_images import decode_picture
from training.data.images import read_picture

BROKEN = {
    "nonsense": b"nonsense" * 20,
    "empty": b"",
    "cut": icc_profile("Display P3")[:200],
    "a link": icc_profile("Display P3").replace(b"mntr", b"link"),
    "of another kind": icc_profile("Display P3").replace(b"RGB XYZ ", b"CMYKXYZ "),
    "without curves": icc_profile("Display P3").replace(b"rTRC", b"xTRC"),
}


def encoded(picture: Image.Image, kind: str = "PNG", **options: Any) -> bytes:
    file = io.BytesIO()
    picture.save(file, kind, **options)
    return file.getvalue()


def srgb() -> bytes:
    made: bytes = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    return made


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "TIFF"])
@pytest.mark.parametrize("space", PRIMARIES)
def test_pictures_are_seen_as_they_were_taken(kind: str, space: str) -> None:
    """ComfyUI#11241, chaiNNer#2599, upscayl#1265: by the engine, in training and in pipelines."""
    data = picture_file(patches(), kind, icc_profile=icc_profile(space))
    meant = meant_in_srgb(patches(), space)
    assert largest_error(np.asarray(decode_picture(data)), meant) <= 5
    assert largest_error(read_picture(data), meant) <= 5
    with Image.open(io.BytesIO(data)) as picture:
        pixels = (to_pixels(picture)[0].permute(1, 2, 0) * 255).round().to(int).numpy()
    assert largest_error(pixels, meant) <= 5


@pytest.mark.parametrize("profile", [None, srgb()], ids=["none", "sRGB"])
@pytest.mark.parametrize("kind", ["PNG", "WEBP", "TIFF"])
def test_what_is_srgb_keeps_its_pixels_to_the_last_bit(kind: str, profile: bytes | None) -> None:
    options = {} if profile is None else {"icc_profile": profile}
    assert np.array_equal(decode_picture(picture_file(patches(), kind, **options)), patches())


@pytest.mark.parametrize("profile", BROKEN.values(), ids=BROKEN)
@pytest.mark.parametrize("kind", ["PNG", "JPEG"])
def test_a_broken_profile_is_ignored(kind: str, profile: bytes) -> None:
    data = picture_file(patches(), kind, icc_profile=profile)
    assert largest_error(np.asarray(decode_picture(data)), patches()) <= 2


def test_the_profile_of_a_large_picture_counts_too() -> None:
    """It is converted in bands, and made smaller meanwhile."""
    large = np.tile(np.array([120, 200, 40], np.uint8), (2400, 1300, 1))
    data = picture_file(large, "PNG", icc_profile=icc_profile("Adobe RGB"))
    shown = np.asarray(decode_picture(data, short_side=600))
    assert shown.shape == (1200, 650, 3)
    assert np.abs(shown.astype(int) - (51, 201, 0)).max() <= 4


def test_transparency_is_kept_apart_from_the_profile() -> None:
    picture = Image.new("RGBA", (16, 16), (120, 200, 40, 255))
    picture.paste((120, 200, 40, 0), (8, 0, 16, 16))
    shown = decode_picture(encoded(picture, icc_profile=icc_profile("Adobe RGB")))
    assert shown.getpixel((2, 2)) == pytest.approx((51, 201, 0), abs=3)
    assert shown.getpixel((12, 2)) == (255, 255, 255)


def test_a_palette_has_a_profile_too() -> None:
    picture = Image.new("P", (16, 16), 0)
    picture.putpalette([120, 200, 40])
    shown = decode_picture(encoded(picture, icc_profile=icc_profile("Adobe RGB")))
    assert shown.getpixel((2, 2)) == pytest.approx((51, 201, 0), abs=3)


@pytest.mark.parametrize("mode", ["1", "L", "LA", "I;16", "P", "RGBA", "CMYK", "YCbCr", "LAB"])
def test_every_mode_becomes_its_colours(mode: str) -> None:
    meant = (128, 128, 128) if mode not in {"1", "CMYK"} else (255, 255, 255)
    if mode == "I;16":
        picture = Image.fromarray(np.full((16, 16), 128 * 257, np.uint16))
    elif mode == "LAB":
        picture = Image.new("LAB", (16, 16), (137, 128, 128))  # L* of 53.6
    elif mode == "P":
        picture = Image.new("RGB", (16, 16), meant).quantize()
    else:
        picture = Image.new("RGB", (16, 16), meant).convert(mode)
    shown = decode_picture(
        encoded(picture, "PNG" if mode not in {"CMYK", "YCbCr", "LAB"} else "TIFF")
    )
    assert shown.getpixel((4, 4)) == pytest.approx(meant, abs=2)
    assert to_pixels(picture)[0, :, 4, 4].tolist() == pytest.approx(np.divide(meant, 255), abs=0.01)
