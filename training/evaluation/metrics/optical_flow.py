"""Optical flow by Farneback's method (OpenCV), which needs no learnt weights.

OpenCV comes with the extra ``training``; without it `measure_flow` gives ``None``.
"""

from __future__ import annotations

from dataclasses import dataclass
from importlib.util import find_spec
from itertools import pairwise

import numpy as np
import numpy.typing as npt


@dataclass(frozen=True, slots=True)
class OpticalFlow:
    """The flow of a clip.

    ``speed``: mean length of the flow over all pixels, px per frame. ``warped_difference``: mean
    absolute difference of a frame and the next one moved back along the flow, in levels of 255,
    over the pixels that stay in the picture.
    """

    speed: float
    warped_difference: float


def flow_is_available() -> bool:
    """Return whether OpenCV is installed."""
    return find_spec("cv2") is not None


def measure_flow(grey: npt.NDArray[np.uint8]) -> OpticalFlow | None:
    """Measure grey frames ``[F, H, W]``; ``None`` without OpenCV or with a single frame.

    These are not the RAFT figures of EvalCrafter of similar name: other network, other scale.
    """
    if len(grey) < 2 or not flow_is_available():
        return None
    import cv2

    height, width = grey.shape[1:]
    columns, rows = np.meshgrid(np.arange(width), np.arange(height))
    speeds, differences = [], []
    for one, two in pairwise(grey):
        nothing = np.zeros((height, width, 2), np.float32)
        flow = cv2.calcOpticalFlowFarneback(
            one, two, nothing, pyr_scale=0.5, levels=3, winsize=9, iterations=3, poly_n=5,
            poly_sigma=1.2, flags=0,
        )  # [H, W, 2]  # fmt: skip
        speeds.append(float(np.hypot(flow[..., 0], flow[..., 1]).mean()))
        x = (columns + flow[..., 0]).astype(np.float32)
        y = (rows + flow[..., 1]).astype(np.float32)
        moved_back = cv2.remap(two, x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
        inside = (x >= 0) & (x <= width - 1) & (y >= 0) & (y <= height - 1)
        error = np.abs(moved_back.astype(np.float64) - one)
        differences.append(float(error[inside].mean()) if inside.any() else 0.0)
    return OpticalFlow(float(np.mean(speeds)), float(np.mean(differences)))
