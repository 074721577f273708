"""Naming a shape, whatever its place, size and rotation, and measuring its rotation.

The harmonic moment ``sum(cover * (z - centre)**n)`` of an object, with pixels as complex numbers
z, turns by n times the object's angle and, z**n being a harmonic function, is not changed by a
symmetric blur. Its phase at n = 3 and n = 4 gives the angle of a triangle and of a square; ideal
shapes of the same area, centre and angle are then laid over the object.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float64]

FOLDS = {"circle": 0, "square": 4, "triangle": 3}
"""Rotations that map the shape to itself; 0 for the circle, whose rotation is invisible."""

# Phase of the moment of the unrotated shape: a square's corners lie at odd multiples of 45
# degrees, where z**4 is negative; a triangle's apex at z = -i (y runs downwards), where z**3 = i.
_PHASE = {"square": math.pi, "triangle": math.pi / 2}


@dataclass(frozen=True, slots=True)
class Outline:
    """Per frame ``[F]``: centre (px), area (px^2), and rotation (rad, within one fold)."""

    x: FloatArray
    y: FloatArray
    area: FloatArray
    angles: dict[str, FloatArray]


def measure(cover: npt.NDArray[np.float32]) -> Outline:
    """Measure objects from their cover ``[F, H, W]``; each must cover something."""
    height, width = cover.shape[1:]
    ys = np.arange(height) + 0.5
    xs = np.arange(width) + 0.5
    weight = cover.astype(np.float64)
    area = weight.sum(axis=(1, 2))
    x = (weight.sum(axis=1) @ xs) / area
    y = (weight.sum(axis=2) @ ys) / area
    z = (xs[None, None, :] - x[:, None, None]) + 1j * (ys[None, :, None] - y[:, None, None])
    angles = {}
    for shape, phase in _PHASE.items():
        moment = (weight * z ** FOLDS[shape]).sum(axis=(1, 2))
        angles[shape] = np.angle(moment * np.exp(-1j * phase)) / FOLDS[shape]
    return Outline(x, y, area, angles)


def misfits(cover: npt.NDArray[np.float32], outline: Outline) -> dict[str, FloatArray]:
    """Compare objects ``[F, H, W]`` with each ideal shape.

    Returns, per shape and frame ``[F]``, the area in which they differ as a share of the object.
    """
    height, width = cover.shape[1:]
    right = np.arange(width)[None, None, :] + 0.5 - outline.x[:, None, None]
    down = np.arange(height)[None, :, None] + 0.5 - outline.y[:, None, None]
    result = {}
    for shape in FOLDS:
        angle = outline.angles.get(shape, np.zeros_like(outline.area))[:, None, None]
        u = right * np.cos(angle) + down * np.sin(angle)
        v = down * np.cos(angle) - right * np.sin(angle)
        distance = _distance(shape, u, v, outline.area[:, None, None])
        ideal = np.clip(0.5 - distance, 0, 1)
        result[shape] = np.abs(cover - ideal).sum(axis=(1, 2)) / outline.area
    return result


def _distance(shape: str, u: FloatArray, v: FloatArray, area: FloatArray) -> FloatArray:
    """Distance to the edge of the centred shape of the given area, negative inside."""
    if shape == "circle":
        return np.hypot(u, v) - np.sqrt(area / math.pi)
    if shape == "square":
        return np.maximum(np.abs(u), np.abs(v)) - np.sqrt(area) / 2
    inradius = np.sqrt(area / (3 * math.sqrt(3)))
    return np.maximum(np.abs(u) * (math.sqrt(3) / 2) - v / 2, v) - inradius


def unwrapped(angles: FloatArray, fold: int) -> FloatArray:
    """Undo the jumps of angles known only up to a ``fold``-th of a turn."""
    return np.unwrap(angles, period=2 * math.pi / fold)
