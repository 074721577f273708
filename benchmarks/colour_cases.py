"""Pictures of known colours, written as other programs would, and how far off they are shown."""

from __future__ import annotations

import io
import itertools
import struct
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt
from PIL import Image

from engine.serving.media.ffmpeg import find_ffmpeg

Pixels = npt.NDArray[np.uint8]
Point = tuple[float, float, float]

COLOURS: Final[Sequence[tuple[int, int, int]]] = (
    *itertools.product((0, 85, 170, 255), (0, 85, 170, 255), (0, 85, 170, 255)),
    *((30, 180, 60), (200, 40, 90), (120, 200, 40), (220, 30, 30)),
    *((30, 30, 220), (128, 0, 128), (0, 200, 0), (224, 172, 138)),
)
SIDE: Final = 16
"""Pixels of a patch; a codec's chroma and a loop filter leave its middle alone."""

_MARGIN: Final = 5

PRIMARIES: Final[dict[str, tuple[Point, Point, Point]]] = {  # adapted to D50, as profiles hold them
    "sRGB": ((0.4361, 0.2225, 0.0139), (0.3851, 0.7169, 0.0971), (0.1431, 0.0606, 0.7141)),
    "Display P3": ((0.5151, 0.2412, -0.0011), (0.2919, 0.6922, 0.0419), (0.1572, 0.0666, 0.7841)),
    "Adobe RGB": ((0.6097, 0.3111, 0.0195), (0.2053, 0.6257, 0.0609), (0.1492, 0.0632, 0.7446)),
}
_D50: Final = (0.9642, 1.0, 0.8249)
_GAMMA: Final = 2.2


@dataclass(frozen=True, slots=True)
class Tagged:
    """A way to write a clip: container, codec, the matrix and range in its pixels, and its tags."""

    ending: str
    codec: tuple[str, ...]
    matrix: str
    span: str
    tag: str | None
    width: int = 192
    height: int = 192

    def __str__(self) -> str:
        return (
            f"{self.ending} {self.matrix} {self.span} "
            f"{self.tag or 'untagged'} {self.width}x{self.height}"
        )


_X264: Final = ("-c:v", "libx264", "-crf", "2", "-bf", "0")
_VP9: Final = ("-c:v", "libvpx-vp9", "-crf", "4", "-b:v", "0", "-deadline", "realtime")
_CODECS: Final = {"mp4": _X264, "mov": _X264, "mkv": _X264, "avi": _X264, "webm": _VP9}
_TAGS: Final = {"bt709": "bt709", "bt601": "smpte170m", "bt2020": "bt2020nc"}

CLIPS: Final = (
    *(
        Tagged(ending, codec, matrix, span, tag)
        for ending, codec in _CODECS.items()
        for matrix, tag in _TAGS.items()
        for span in ("tv", "pc")
    ),
    *(
        Tagged(ending, codec, matrix, "tv", None, *size)
        for ending, codec in _CODECS.items()
        for matrix, size in (
            ("bt601", (192, 192)),
            ("bt601", (1264, 64)),
            ("bt709", (1280, 64)),
            ("bt601", (128, 576)),
            ("bt709", (128, 592)),
        )
    ),
)
"""Every container with every tag, and without tags on both sides of where players change."""


def patches(width: int = 192, height: int = 192) -> Pixels:
    """Squares of all colours, line by line, ``[H, W, 3]``; as often as they fit in."""
    across, down = width // SIDE, height // SIDE
    numbers = np.arange(across * down).reshape(down, across) % len(COLOURS)
    squares = np.asarray(COLOURS, np.uint8)[numbers]
    return np.ascontiguousarray(squares.repeat(SIDE, axis=0).repeat(SIDE, axis=1))


def largest_error(shown: Pixels, meant: Pixels) -> int:
    """The largest difference of any channel of any pixel in the middle of any patch, in levels."""
    places = np.arange(SIDE)
    middle = (places >= _MARGIN) & (places < SIDE - _MARGIN)
    height, width = meant.shape[:2]
    rows, columns = np.tile(middle, height // SIDE), np.tile(middle, width // SIDE)
    differences = np.abs(shown.astype(int) - meant.astype(int))[rows][:, columns]
    return int(differences.max())


def largest_mean_error(shown: Pixels, meant: Pixels) -> int:
    """The largest difference of any channel of a patch's mean: for what is dithered or grainy."""

    def means(pixels: Pixels) -> npt.NDArray[np.float64]:
        height, width = pixels.shape[:2]
        cells = pixels.reshape(height // SIDE, SIDE, width // SIDE, SIDE, 3).astype(float)
        inner = slice(_MARGIN, SIDE - _MARGIN)
        return np.asarray(cells[:, inner][:, :, :, inner].mean(axis=(1, 3)))

    return round(float(np.abs(means(shown) - means(meant)).max()))


def write_tagged(path: Path, case: Tagged, *, frames: int = 2) -> Path:
    """Write a clip of `patches`, as other programs do."""
    said = f"range={case.span}:colorspace={case.tag}" if case.tag else "colorspace=unknown"
    flags = "accurate_rnd+full_chroma_int"
    scale = f"scale=out_color_matrix={case.matrix}:out_range={case.span}:flags={flags}"
    size = f"{case.width}x{case.height}"
    pixels = np.stack([patches(case.width, case.height)] * frames)
    subprocess.run(
        [
            *(find_ffmpeg(), "-v", "error", "-y", "-f", "rawvideo", "-pix_fmt", "rgb24"),
            *("-s", size, "-r", "8", "-i", "-"),
            *("-vf", f"{scale},format=yuv420p,setparams={said}", *case.codec, str(path)),
        ],
        input=pixels.tobytes(),
        check=True,
    )
    return path


def icc_profile(space: str) -> bytes:
    """A small profile of ICC version 2: three primaries and a gamma of 2.2."""

    def number(value: float) -> bytes:
        return struct.pack(">i", round(value * 65536))

    def point(values: Point) -> bytes:
        return b"XYZ \0\0\0\0" + b"".join(map(number, values))

    curve = b"curv\0\0\0\0" + struct.pack(">IH", 1, round(_GAMMA * 256)) + b"\0\0"
    name = b"desc\0\0\0\0" + struct.pack(">I", 2) + b"x\0" + b"\0" * 79
    tags = [(b"desc", name), (b"wtpt", point(_D50)), (b"cprt", b"text\0\0\0\0none\0")]
    keys = (b"rXYZ", b"gXYZ", b"bXYZ")
    tags += [(key, point(xyz)) for key, xyz in zip(keys, PRIMARIES[space], strict=True)]
    tags += [(key, curve) for key in (b"rTRC", b"gTRC", b"bTRC")]
    table, body, start = struct.pack(">I", len(tags)), b"", 132 + 12 * len(tags)
    for key, data in tags:
        padded = data + b"\0" * (-len(data) % 4)
        table += key + struct.pack(">II", start + len(body), len(padded))
        body += padded
    size = 128 + len(table) + len(body)
    head = struct.pack(">I4sI4s4s4s", size, b"none", 0x02100000, b"mntr", b"RGB ", b"XYZ ")
    head += struct.pack(">6H", 2020, 1, 1, 0, 0, 0) + b"acspnone\0\0\0\0nonenone" + b"\0" * 12
    head += b"".join(map(number, _D50)) + b"none"
    return head.ljust(128, b"\0") + table + body


def meant_in_srgb(pixels: Pixels, space: str) -> Pixels:
    """Convert pixels of `icc_profile` to sRGB by the formulas; colours outside it are clipped."""
    linear = (pixels / 255.0) ** (563 / 256)  # the profile's gamma, as it is stored
    change = np.linalg.inv(np.array(PRIMARIES["sRGB"]).T) @ np.array(PRIMARIES[space]).T
    light = np.clip(linear @ change.T, 0, 1)
    shown = np.where(light <= 0.0031308, 12.92 * light, 1.055 * light ** (1 / 2.4) - 0.055)
    return np.asarray(np.rint(shown * 255), np.uint8)


def picture_file(pixels: Pixels, kind: str, **options: Any) -> bytes:
    """Encode a picture as well as its format can."""
    best: dict[str, Any] = {"JPEG": {"quality": 100, "subsampling": 0}, "WEBP": {"lossless": True}}
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, kind, **(best.get(kind, {}) | options))
    return file.getvalue()
