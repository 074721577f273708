"""Uploads become RGB pictures or one clear sentence."""

import contextlib
import io
import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from engine.serving.media.input_images import PictureError, decode_picture, fit_picture


def encoded(picture: Image.Image, kind: str = "PNG", **options: object) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, kind, **options)
    return buffer.getvalue()


def two_halves(width: int = 32, height: int = 16) -> Image.Image:
    picture = Image.new("RGB", (width, height), "red")
    picture.paste("blue", (width // 2, 0, width, height))
    return picture


def png_header(width: int, height: int) -> bytes:
    """A PNG that only claims a size: decoding it would need all the memory it asks for."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        crc = zlib.crc32(kind + data)
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", crc)

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    body = chunk(b"IDAT", zlib.compress(b"\0"))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + body + chunk(b"IEND", b"")


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF"])
def test_the_common_formats_are_decoded(kind: str) -> None:
    picture = decode_picture(encoded(two_halves(), kind))
    assert picture.mode == "RGB"
    assert picture.size == (32, 16)
    left, right = np.asarray(picture)[8, 4], np.asarray(picture)[8, 28]
    assert left[0] > 200 > 60 > left[2]
    assert right[2] > 200 > 60 > right[0]


def test_transparency_is_laid_on_white() -> None:
    picture = Image.new("RGBA", (16, 16), (0, 0, 0, 0))
    picture.paste((255, 0, 0, 255), (0, 0, 8, 16))
    pixels = np.asarray(decode_picture(encoded(picture)))
    assert pixels[0, 0].tolist() == [255, 0, 0]
    assert pixels[0, 15].tolist() == [255, 255, 255]


def test_palette_transparency_is_laid_on_white() -> None:
    picture = Image.new("P", (16, 16), 0)
    picture.putpalette([10, 20, 30, 200, 100, 50])
    pixels = np.asarray(decode_picture(encoded(picture, "GIF", transparency=0)))
    assert pixels[0, 0].tolist() == [255, 255, 255]


def test_sixteen_bit_greys_are_scaled_not_clipped() -> None:
    greys = np.full((16, 16), 32768, dtype=np.uint16)
    pixels = np.asarray(decode_picture(encoded(Image.fromarray(greys))))
    assert pixels[0, 0].tolist() == [128, 128, 128]


def test_the_cameras_orientation_is_applied() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # stored lying on its side: turn clockwise to see it upright
    picture = decode_picture(encoded(two_halves(), "JPEG", exif=exif, quality=95))
    assert picture.size == (16, 32)
    top = np.asarray(picture)[2, 8]
    assert top[0] > 200 > 60 > top[2]


@pytest.mark.parametrize("kind", ["GIF", "WEBP"])
def test_an_animation_gives_its_first_frame(kind: str) -> None:
    frames = [Image.new("RGB", (16, 16), colour) for colour in ("lime", "red", "blue")]
    data = encoded(frames[0], kind, save_all=True, append_images=frames[1:], duration=100)
    pixel = np.asarray(decode_picture(data))[8, 8]
    assert pixel[1] > 200 > 60 > max(pixel[0], pixel[2])


@pytest.mark.parametrize("size", [(6_000, 5_000), (12_000, 9_000), (60_000, 60_000)])
def test_too_many_pixels_are_refused_before_decoding(size: tuple[int, int]) -> None:
    with pytest.raises(PictureError, match="At most 25 megapixels"):
        decode_picture(png_header(*size))


def test_the_limit_can_be_set() -> None:
    data = encoded(two_halves(100, 100))
    assert decode_picture(data, max_pixels=10_000).size == (100, 100)
    with pytest.raises(PictureError, match=r"At most 0\.009999 megapixels"):
        decode_picture(data, max_pixels=9_999)


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "GIF"])
def test_a_truncated_file_is_refused(kind: str) -> None:
    noise = np.random.default_rng(0).integers(0, 255, (64, 64, 3), dtype=np.uint8)
    data = encoded(Image.fromarray(noise), kind)
    with pytest.raises(PictureError, match="damaged or incomplete"):
        decode_picture(data[: len(data) // 2])


@pytest.mark.parametrize(
    ("data", "text"),
    [
        (b"", "empty"),
        (b"not a picture at all", "not a picture"),
        (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "not a picture"),
        (b"\x89PNG\r\n\x1a\n", "not a picture|damaged"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 50 50\n", "not a picture"),
    ],
)
def test_other_bytes_are_refused(data: bytes, text: str) -> None:
    with pytest.raises(PictureError, match=text):
        decode_picture(data)


@pytest.mark.parametrize(("size", "text"), [((4, 40), "at least 8"), ((8, 81), "10 times")])
def test_unusable_shapes_are_refused(size: tuple[int, int], text: str) -> None:
    with pytest.raises(PictureError, match=text):
        decode_picture(encoded(Image.new("RGB", size)))


def test_no_bytes_make_the_decoder_raise_anything_else() -> None:
    rng = np.random.default_rng(1)
    for kind in ("PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF"):
        whole = bytearray(encoded(two_halves(), kind))
        for _ in range(60):
            damaged = bytearray(whole)
            for place in rng.integers(0, len(whole), 6):
                damaged[place] = int(rng.integers(0, 256))
            with contextlib.suppress(PictureError):
                assert decode_picture(bytes(damaged)).mode == "RGB"


def test_fitting_crops_the_centre() -> None:
    picture = Image.new("RGB", (30, 10), "lime")
    picture.paste("red", (0, 0, 10, 10))
    picture.paste("blue", (20, 0, 30, 10))
    fitted = fit_picture(picture, 8, 8)
    assert fitted.size == (8, 8)
    assert np.asarray(fitted)[4, 4].tolist() == [0, 255, 0]
