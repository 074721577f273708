"""Finding the object: background colour, contrast, and the largest connected region."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from training.judge.colour import srgb_to_lab
from training.judge.thresholds import REFERENCE_SIDE, Thresholds

BoolArray = npt.NDArray[np.bool_]
FloatArray = npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Segmentation:
    """The object of a clip of F frames.

    ``background`` and ``ink`` are Lab colours ``[3]`` of the clip (``ink`` is ``None`` when no
    frame shows an object); ``found`` ``[F]``; ``mask`` ``[F, H, W]``, empty where not found;
    ``cover`` ``[F, H, W]`` in 0..1 is the share of each pixel that the object covers, zero away
    from the mask; ``inks`` ``[F, 3]`` is the Lab colour of each frame's object, NaN where not
    found.
    """

    background: FloatArray
    ink: FloatArray | None
    found: BoolArray
    mask: BoolArray
    cover: FloatArray
    inks: FloatArray


def shifted(mask: BoolArray, dy: int, dx: int) -> BoolArray:
    """Move masks ``[..., H, W]`` by (dy, dx), filling with ``False``."""
    height, width = mask.shape[-2:]
    moved = np.zeros_like(mask)
    moved[..., max(dy, 0) : height + min(dy, 0), max(dx, 0) : width + min(dx, 0)] = mask[
        ..., max(-dy, 0) : height + min(-dy, 0), max(-dx, 0) : width + min(-dx, 0)
    ]
    return moved


def dilate(mask: BoolArray, times: int = 1) -> BoolArray:
    """Grow masks ``[..., H, W]`` by a 3x3 square, ``times`` times."""
    for _ in range(times):
        rows = mask | shifted(mask, 1, 0) | shifted(mask, -1, 0)
        mask = rows | shifted(rows, 0, 1) | shifted(rows, 0, -1)
    return mask


def erode(mask: BoolArray) -> BoolArray:
    """Shrink masks ``[..., H, W]`` by a 3x3 square; beyond the canvas counts as inside."""
    return ~dilate(~mask)


def label(mask: BoolArray) -> npt.NDArray[np.int64]:
    """Label the 4-connected regions of each mask of a stack ``[F, H, W]``.

    Returns ``[F, H, W]``: the smallest flat index in the pixel's region, and -1 outside.
    Union by hooking larger roots under smaller ones, all edges at once, which takes a few
    rounds instead of one per pixel of the longest region.
    """
    index = np.arange(mask.size).reshape(mask.shape)
    across = mask[:, :, 1:] & mask[:, :, :-1]
    down = mask[:, 1:] & mask[:, :-1]
    one = np.concatenate([index[:, :, 1:][across], index[:, 1:][down]])
    two = np.concatenate([index[:, :, :-1][across], index[:, :-1][down]])
    parent = index.ravel().copy()
    while True:
        root_one, root_two = parent[one], parent[two]
        split = root_one != root_two
        if not split.any():
            break
        one, two = one[split], two[split]
        low = np.minimum(root_one, root_two)[split]
        high = np.maximum(root_one, root_two)[split]
        np.minimum.at(parent, high, low)
        while True:
            jumped = parent[parent]
            if np.array_equal(jumped, parent):
                break
            parent = jumped
    return np.where(mask, parent.reshape(mask.shape), -1)


def largest_regions(mask: BoolArray) -> BoolArray:
    """Keep the largest 4-connected region of each mask of a stack ``[F, H, W]``."""
    labels = label(mask)
    sizes = np.bincount(labels[mask], minlength=1) if mask.any() else np.zeros(1, dtype=np.int64)
    sizes = np.append(sizes, np.zeros(mask.size - len(sizes), dtype=sizes.dtype))
    # A root is a pixel of its own region, so each frame's roots lie in that frame's stretch.
    winners = sizes.reshape(len(mask), -1).argmax(axis=1) + np.arange(len(mask)) * mask[0].size
    largest: BoolArray = mask & (labels == winners[:, None, None])
    return largest


def _ring(height: int, width: int) -> BoolArray:
    """The outermost two pixels on each side, ``[H, W]``."""
    ring = np.zeros((height, width), dtype=np.bool_)
    ring[:2] = ring[-2:] = True
    ring[:, :2] = ring[:, -2:] = True
    return ring


def segment(clip: npt.NDArray[np.uint8], limits: Thresholds) -> Segmentation:
    """Find the object in a clip ``[F, 3, H, W]``."""
    pixels = np.ascontiguousarray(clip.transpose(0, 2, 3, 1))  # [F, H, W, 3]
    frames, height, width, _ = pixels.shape
    lab = srgb_to_lab(pixels)
    ring = _ring(height, width)
    # The median ignores an object that covers less than half of the border.
    border = np.median(lab[:, ring], axis=1)  # [F, 3]
    background = np.median(border, axis=0).astype(np.float32)
    distance = np.linalg.norm(lab - border[:, None, None], axis=-1)  # [F, H, W]

    # The brightest hundredth lies inside even the smallest object; half of its contrast is
    # where a soft edge should be cut, whatever its softness.
    peak = np.median(_top_hundredth(distance.reshape(frames, -1)), axis=1)  # [F]
    threshold = max(float(np.median(peak)), limits.min_contrast) / 2
    foreground = distance > threshold
    mask = largest_regions(foreground)
    area = mask.sum(axis=(1, 2))
    core = erode(mask)
    found = (
        (peak > limits.min_contrast)
        & (area >= limits.min_area * height * width)
        & (area <= limits.max_area * height * width)
        & (core.sum(axis=(1, 2)) >= limits.min_core * area)
        & (area >= limits.min_dominance * foreground.sum(axis=(1, 2)))
    )
    mask &= found[:, None, None]
    core &= mask
    inks = np.full((frames, 3), np.nan, dtype=np.float32)
    cover = np.zeros(mask.shape, dtype=np.float32)
    reach = dilate(mask, max(round(3 * min(height, width) / REFERENCE_SIDE), 3))
    paper = np.median(pixels[:, ring], axis=1).astype(np.float32)  # [F, 3]
    for i in np.flatnonzero(found):
        inks[i] = np.median(lab[i][core[i]], axis=0)
        # Antialiasing and blur mix bytes, not light: measure the cover along the line in sRGB.
        line = np.median(pixels[i][core[i]], axis=0) - paper[i]
        share = (pixels[i][reach[i]] - paper[i]) @ line / max(float(line @ line), 1.0)
        cover[i][reach[i]] = np.clip(share, 0, 1)
    ink = np.median(inks[found], axis=0).astype(np.float32) if found.any() else None
    return Segmentation(background, ink, found, mask, cover, inks)


def _top_hundredth(values: FloatArray) -> FloatArray:
    """The largest hundredth of each row of ``[F, N]``."""
    count = max(values.shape[1] // 100, 1)
    return np.partition(values, -count, axis=1)[:, -count:]
