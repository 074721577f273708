"""Picture files lose what tells about their makers, and nothing of their pixels."""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Callable

import numpy as np
import pytest
from PIL import Image, ImageCms, PngImagePlugin

from engine.serving.media.image_metadata import clean_file
from engine.serving.media.input_images import START_SIDE, decode_picture, read_picture

SECRET = b"alice-was-here"
XMP = b"<x:xmpmeta xmlns:x='adobe:ns:meta/'>" + SECRET + b"</x:xmpmeta>"


def notes(orientation: int | None = None) -> Image.Exif:
    exif = Image.Exif()
    exif[0x010F] = SECRET.decode()
    place = exif.get_ifd(0x8825)
    place[1], place[2], place[3], place[4] = "N", (48.0, 51.0, 29.0), "E", (2.0, 17.0, 40.0)
    if orientation is not None:
        exif[0x0112] = orientation
    return exif


def scene(mode: str = "RGB") -> Image.Image:
    random = np.random.default_rng(1).integers(0, 255, (24, 40, 4), dtype=np.uint8)
    return Image.fromarray(random, "RGBA").convert(mode)


def encoded(picture: Image.Image, kind: str, **options: object) -> bytes:
    file = io.BytesIO()
    picture.save(file, kind, **options)
    return file.getvalue()


def segment(marker: int, content: bytes) -> bytes:
    return bytes([0xFF, marker]) + struct.pack(">H", len(content) + 2) + content


def jpeg() -> bytes:
    """With a thumbnail, XMP, IPTC, a second picture's index, a comment and a film behind it."""
    plain = encoded(scene(), "JPEG", exif=notes(), comment=SECRET, quality=90, progressive=True)
    thumbnail = b"JFIF\0\1\1\0\0\1\0\1\2\1" + SECRET[:6]
    extra = (
        segment(0xE0, thumbnail)
        + segment(0xE0, b"JFXX\0\x10" + SECRET)
        + segment(0xE1, b"http://ns.adobe.com/xap/1.0/\0" + XMP)
        + segment(0xED, b"Photoshop 3.0\x008BIM" + SECRET)
        + segment(0xE2, b"MPF\0" + SECRET)
        + segment(0xEF, SECRET)
    )
    rest = plain[2:]
    if rest.startswith(b"\xff\xe0"):
        rest = rest[2 + struct.unpack(">H", rest[2:4])[0] :]
    return plain[:2] + extra + rest + SECRET


def mpo() -> bytes:
    second = scene().rotate(180)
    return encoded(scene(), "MPO", save_all=True, append_images=[second], exif=notes())


def png() -> bytes:
    text = PngImagePlugin.PngInfo()
    text.add_text("Author", SECRET.decode())
    text.add_text("Comment", SECRET.decode(), zip=True)
    text.add_itxt("XML:com.adobe.xmp", XMP.decode())
    made = encoded(scene("RGBA"), "PNG", exif=notes(), pnginfo=text, dpi=(72, 72))
    private = b"prVt" + SECRET
    chunk = struct.pack(">I", len(SECRET)) + private + struct.pack(">I", zlib.crc32(private))
    return made[:33] + chunk + made[33:] + SECRET


def animated_png() -> bytes:
    return encoded(scene(), "PNG", save_all=True, append_images=[scene().rotate(90)], exif=notes())


def webp(**options: object) -> bytes:
    return encoded(scene("RGBA"), "WEBP", exif=notes(), xmp=XMP, **options) + SECRET


def animated_webp() -> bytes:
    return webp(save_all=True, append_images=[scene("RGBA").rotate(90)], lossless=True)


def gif() -> bytes:
    made = encoded(
        scene(), "GIF", comment=SECRET, save_all=True, append_images=[scene("L")], loop=0
    )
    xmp = b"\x21\xff\x0bXMP DataXMP" + bytes([len(SECRET)]) + SECRET + b"\0"
    plain_text = b"\x21\x01\x0c" + b"\0" * 12 + bytes([len(SECRET)]) + SECRET + b"\0"
    at = 13 + 3 * 2 ** ((made[10] & 7) + 1)
    return made[:at] + xmp + plain_text + made[at:] + SECRET


def tiff() -> bytes:
    return encoded(scene(), "TIFF", exif=notes(), description=SECRET.decode(), software="camera")


def bmp() -> bytes:
    return encoded(scene(), "BMP") + SECRET


FILES = [jpeg, mpo, png, animated_png, webp, animated_webp, gif, tiff, bmp]


def told(data: bytes) -> set[str]:
    """Everything but pixels that Pillow finds in a file."""
    with Image.open(io.BytesIO(data)) as picture:
        picture.load()
        assert not picture.getexif()
        shape = {"loop", "duration", "background", "version", "extension", "transparency"}
        shape |= {"jfif", "jfif_version", "jfif_unit", "jfif_density", "default_image", "bbox"}
        shape |= {"disposal", "blend", "timestamp", "progressive", "progression", "adobe", "dpi"}
        return set(map(str, picture.info)) - shape - {"adobe_transform", "icc_profile"}


@pytest.mark.parametrize("make", FILES, ids=lambda make: make.__name__)
def test_nothing_but_the_picture_is_left(make: Callable[[], bytes]) -> None:
    data = make()
    cleaned = clean_file(data, read_picture(data))
    assert SECRET[:6] in data or make is mpo
    assert SECRET[:6] not in cleaned
    assert b"Exif" not in cleaned
    assert b"xmp" not in cleaned.lower()
    assert told(cleaned) == set()
    assert np.array_equal(decode_picture(cleaned), decode_picture(data))
    assert clean_file(cleaned, read_picture(cleaned)) == cleaned


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "GIF"])
def test_a_file_without_notes_stays_as_it_is(kind: str) -> None:
    data = encoded(scene(), kind)
    assert clean_file(data, read_picture(data)) == data


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF"])
def test_a_picture_that_lies_on_its_side_is_kept_upright(kind: str, orientation: int) -> None:
    data = encoded(scene(), kind, exif=notes(orientation))
    decoded = read_picture(data)
    cleaned = clean_file(data, decoded)
    assert SECRET not in cleaned
    assert told(cleaned) == set()
    again = read_picture(cleaned)
    assert (again.width, again.height) == ((24, 40) if orientation > 4 else (40, 24))
    assert (decoded.width, decoded.height) == (again.width, again.height)
    assert not again.turned
    assert np.array_equal(again.image, decoded.image)


def test_colours_are_kept() -> None:
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    for kind in ("PNG", "JPEG", "WEBP"):
        data = encoded(scene(), kind, icc_profile=profile, exif=notes())
        with Image.open(io.BytesIO(clean_file(data, read_picture(data)))) as cleaned:
            assert cleaned.info["icc_profile"] == profile
    cmyk = encoded(scene("CMYK"), "JPEG", exif=notes())  # needs its Adobe segment
    assert np.array_equal(
        decode_picture(clean_file(cmyk, read_picture(cmyk))), decode_picture(cmyk)
    )


@pytest.mark.parametrize("make", FILES, ids=lambda make: make.__name__)
def test_odd_files_are_cleaned_or_written_anew(make: Callable[[], bytes]) -> None:
    data = make()
    decoded = read_picture(data)
    random = np.random.default_rng(3)
    for _ in range(200):
        damaged = bytearray(data)
        for at in random.integers(0, len(data), 3):
            damaged[at] = random.integers(0, 256)
        cut = bytes(damaged[: random.integers(1, len(data))])
        for odd in (bytes(damaged), cut):
            assert clean_file(odd, decoded)


@pytest.mark.parametrize("kind", ["JPEG", "PNG"])
def test_a_large_picture_is_made_smaller_while_it_is_decoded(kind: str) -> None:
    large = Image.radial_gradient("L").resize((4 * START_SIDE, 2 * START_SIDE)).convert("RGB")
    data = encoded(large, kind, exif=notes(6))
    decoded = read_picture(data, short_side=START_SIDE)
    assert decoded.image.size == (START_SIDE, 2 * START_SIDE)
    assert (decoded.width, decoded.height) == (2 * START_SIDE, 4 * START_SIDE)
    upright = large.transpose(Image.Transpose.ROTATE_270).reduce(2)
    difference = np.abs(np.asarray(decoded.image, int) - np.asarray(upright, int))
    assert difference.max() < 8
    # Pixels of a small one are never touched, and nothing changes for who does not ask.
    assert decode_picture(data).size == (2 * START_SIDE, 4 * START_SIDE)
