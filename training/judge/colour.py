"""Colour names by nearness in CIE Lab, where equal distances look about equally different."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float32]

# IEC 61966-2-1 (sRGB, D65) to CIE XYZ, scaled by the white point on use.
_SRGB_TO_XYZ = np.array(
    [
        (0.4124564, 0.3575761, 0.1804375),
        (0.2126729, 0.7151522, 0.0721750),
        (0.0193339, 0.1191920, 0.9503041),
    ],
    dtype=np.float32,
)
_WHITE = _SRGB_TO_XYZ.sum(axis=1)


def _decode_table() -> FloatArray:
    """Linear light of the 256 values of an sRGB byte."""
    value = np.arange(256, dtype=np.float64) / 255
    linear = np.where(value <= 0.04045, value / 12.92, ((value + 0.055) / 1.055) ** 2.4)
    return linear.astype(np.float32)


_LINEAR = _decode_table()


def srgb_to_lab(rgb: npt.NDArray[np.uint8]) -> FloatArray:
    """Convert sRGB bytes ``[..., 3]`` to CIE Lab ``[..., 3]`` (L in 0..100)."""
    xyz = _LINEAR[rgb] @ (_SRGB_TO_XYZ / _WHITE[:, None]).T
    root = np.where(xyz > 216 / 24389, np.cbrt(xyz), xyz * (24389 / 3132) + 4 / 29)
    x, y, z = root[..., 0], root[..., 1], root[..., 2]
    return np.stack([116 * y - 16, 500 * (x - y), 200 * (y - z)], axis=-1).astype(np.float32)


def nearest_name(
    lab: FloatArray, palette: Mapping[str, tuple[int, int, int]], limit: float
) -> str | None:
    """Name the palette entry nearest to a Lab colour ``[3]``; ``None`` if all are too far.

    ``palette`` maps names to sRGB bytes; ``limit`` is the largest distance (CIE76) that still
    deserves the name.
    """
    names = list(palette)
    known = srgb_to_lab(np.array([palette[name] for name in names], dtype=np.uint8))  # [N, 3]
    distance = np.linalg.norm(known - lab, axis=-1)
    best = int(distance.argmin())
    return names[best] if distance[best] <= limit else None
