"""Scripted clips whose facts are known."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
import numpy.typing as npt
import pytest

from training.data.synthetic import SyntheticScene, render

Clip = npt.NDArray[np.uint8]

PLAIN = SyntheticScene(
    shape="circle",
    colour="red",
    background="grey",
    motion="still",
    fps=8,
    x=32.0,
    y=32.0,
    radius=11.0,
    angle=0.0,
)


@pytest.fixture
def plain() -> SyntheticScene:
    """A red circle of radius 11 in the middle of a grey canvas."""
    return PLAIN


@pytest.fixture
def along() -> Callable[..., Clip]:
    """Build a clip of single frames of a scene whose fields follow the given sequences."""

    def build(scene: SyntheticScene = PLAIN, **curves: Sequence[object]) -> Clip:
        rows = zip(*curves.values(), strict=True)
        scenes = [replace(scene, **dict(zip(curves, row, strict=True))) for row in rows]
        return np.concatenate([render(each, [0]).numpy() for each in scenes])

    return build


@pytest.fixture
def painted() -> Callable[[npt.NDArray[np.bool_]], Clip]:
    """Build a still clip, green on navy, from one mask ``[64, 64]``."""

    def build(mask: npt.NDArray[np.bool_]) -> Clip:
        green, navy = np.array((40, 175, 65)), np.array((18, 24, 66))
        frame = np.where(mask, green[:, None, None], navy[:, None, None])
        return np.repeat(frame[None], 8, axis=0).astype(np.uint8)

    return build
