"""Decoded video frames as sRGB pixels.

A video says by tags how its numbers mean colours (ITU-T H.273): the matrix between Y'CbCr and
R'G'B', the range of the numbers, and the primaries. All of them are named to swscale here, since
PyAV 16 leaves out the conversion between matrices of a frame unless source and target differ.
"""

from __future__ import annotations

from typing import Any, Final

import av
import numpy as np
import numpy.typing as npt
from av.video.reformatter import ColorRange

from engine.errors import EngineError

_Pixels = npt.NDArray[np.uint8]

_BT709: Final = 1
_UNKNOWN: Final = 2
_BT601: Final = 5
_MATRICES: Final = {1: 1, 4: 4, 5: 5, 6: 5, 7: 7, 9: 9, 10: 9}
"""Matrices of H.273 that swscale knows, by its own numbers; constant luminance is near enough."""

_UNREADABLE: Final = {8: "YCgCo", 11: "Y'D'zD'x", 14: "ICtCp", 15: "IPT-C2", 16: "YCgCo-Re"}

_WHITE: Final = (0.3127, 0.3290)
_PRIMARIES: Final = {
    _BT709: ((0.640, 0.330), (0.300, 0.600), (0.150, 0.060)),
    9: ((0.708, 0.292), (0.170, 0.797), (0.131, 0.046)),  # BT.2020
    11: ((0.680, 0.320), (0.265, 0.690), (0.150, 0.060)),  # DCI-P3, adapted to D65
    12: ((0.680, 0.320), (0.265, 0.690), (0.150, 0.060)),  # Display P3
}
"""Chromaticities of wide gamuts. Those of BT.601 are taken for BT.709's, as most players do."""

_PQ: Final = 16
_GAMMA: Final = 2.4  # BT.1886

# swscale's flags: bilinear, full chroma on both sides, accurate rounding, exact for each pixel.
_SCALING: Final = 0x2 | 0x2000 | 0x4000 | 0x40000

_PLAYERS_HD: Final = (1280, 576)


class ColourError(EngineError, ValueError):
    """The colours of a video cannot be shown as sRGB; the text says why."""


def frame_to_rgb(frame: av.VideoFrame, *, width: int, primaries: int, transfer: int) -> _Pixels:
    """Convert a frame to sRGB, laid on white where it is transparent.

    Untagged video is read as players do: wider than 1279 pixels or higher than 576 as BT.709,
    the rest as BT.601; of limited range. HLG is shown as the SDR picture it is compatible with.

    Args:
        frame: as decoded.
        width: pixels to scale to horizontally; differs from the frame's where its pixels are
            not square.
        primaries: of the stream, a number of H.273.
        transfer: likewise.

    Returns:
        `[H, W, 3]`, not turned.

    Raises:
        ColourError: the matrix is not known to swscale, or the video is HDR of the PQ kind.
    """
    if transfer == _PQ:
        raise ColourError("it is HDR video (PQ); convert it to SDR first")
    clear = any(component.is_alpha for component in frame.format.components)
    # swscale writes planes five times as fast as packed pixels, when it is to be exact.
    target = "rgba" if clear else "gbrp"
    pixels: npt.NDArray[Any]
    if frame.format.is_rgb or frame.format.has_palette:
        pixels = frame.reformat(width=width, format=target, interpolation=_SCALING).to_ndarray()
    else:
        matrix = _matrix(frame)
        pixels = frame.reformat(
            width=width,
            format=target,
            interpolation=_SCALING,
            src_colorspace=matrix,
            # Without meaning for RGB, but PyAV skips the conversion of two equal ones.
            dst_colorspace=_BT709 if matrix != _BT709 else _BT601,
            src_color_range=ColorRange.JPEG if _is_full_range(frame) else ColorRange.MPEG,
            dst_color_range=ColorRange.JPEG,
        ).to_ndarray()
    if clear:
        alpha = pixels[..., 3:].astype(np.uint16)
        blended = pixels[..., :3] * alpha + 255 * (255 - alpha)
        pixels = ((blended + 127) // 255).astype(np.uint8)
    if primaries in _PRIMARIES and primaries != _BT709:
        return _to_bt709(pixels.astype(np.uint8, copy=False), primaries)
    return np.ascontiguousarray(pixels, dtype=np.uint8)


def _matrix(frame: av.VideoFrame) -> int:
    tagged = int(frame.colorspace)
    if tagged in _UNREADABLE:
        raise ColourError(f"its colours are coded as {_UNREADABLE[tagged]}")
    if tagged in _MATRICES:
        return _MATRICES[tagged]
    # Unknown, reserved, or RGB, which these numbers are not.
    least_width, most_lines = _PLAYERS_HD
    return _BT709 if frame.width >= least_width or frame.height > most_lines else _BT601


def _is_full_range(frame: av.VideoFrame) -> bool:
    if frame.format.name.startswith("yuvj"):
        return True
    if frame.color_range == ColorRange.UNSPECIFIED:
        return frame.format.name.startswith("gray")
    return int(frame.color_range) == ColorRange.JPEG


def _to_bt709(pixels: _Pixels, primaries: int) -> _Pixels:
    """Convert primaries in linear light; what BT.709 cannot show is clipped."""
    linear = (np.arange(256, dtype=np.float32) / 255) ** _GAMMA
    change = np.linalg.inv(_to_xyz(_BT709)) @ _to_xyz(primaries)
    mixed = linear[pixels] @ change.T.astype(np.float32)
    shown = np.clip(mixed, 0, 1) ** (1 / _GAMMA)
    return np.rint(shown * 255).astype(np.uint8)


def _to_xyz(primaries: int) -> npt.NDArray[np.float64]:
    """The matrix from linear RGB of these primaries and white D65 to XYZ."""

    def xyz(point: tuple[float, float]) -> npt.NDArray[np.float64]:
        x, y = point
        return np.array([x / y, 1, (1 - x - y) / y])

    columns = np.stack([xyz(point) for point in _PRIMARIES[primaries]], axis=1)
    return columns * np.linalg.solve(columns, xyz(_WHITE))
