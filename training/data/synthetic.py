"""The small world of the demo model: coloured shapes that move on plain backgrounds.

Every clip is a pure function of a :class:`SyntheticScene`, so a data set is a list of seeds and
needs no disk. Positions are pixels of a square canvas, x to the right and y downwards.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import numpy.typing as npt
import torch

CANVAS = 64
"""Side of the square canvas in pixels."""

COLOURS: dict[str, tuple[int, int, int]] = {
    "red": (225, 35, 40),
    "green": (40, 175, 65),
    "blue": (45, 95, 235),
    "yellow": (245, 215, 40),
    "purple": (150, 60, 200),
    "orange": (245, 135, 30),
}
BACKGROUNDS: dict[str, tuple[int, int, int]] = {
    "black": (14, 14, 16),
    "white": (242, 242, 240),
    "grey": (128, 130, 132),
    "navy": (18, 24, 66),
}
SHAPES = ("circle", "square", "triangle")
DIRECTIONS: dict[str, tuple[int, int]] = {
    "left": (-1, 0),
    "right": (1, 0),
    "up": (0, -1),
    "down": (0, 1),
}
PLACES: dict[str, tuple[int, int]] = {
    "left": (-1, 0),
    "right": (1, 0),
    "top": (0, -1),
    "bottom": (0, 1),
}
MOTIONS = (*DIRECTIONS, "grow", "shrink", "spin", "still")
FPS_LABELS = (8, 12, 16, 24)

Split = Literal["train", "held-out", "all"]
HELD_OUT_ONE_IN = 8

# World speeds are per second: a clip of n frames at a higher fps label covers less time,
# which is what makes the fps embedding a control of speed (VideoCrafter1, section 3.1).
SPEED = 10.5  # px/s
GROWTH = 0.45  # natural log of the radius, per second
SPIN = math.pi / 2  # rad/s


@dataclass(frozen=True, slots=True)
class SyntheticScene:
    """Everything that determines a clip.

    ``x, y`` is the centre of the object in frame 0, ``radius`` its half size there (pixels),
    ``angle`` its rotation (radians), ``fps`` the label that fixes the time between frames.
    ``place`` is a name of :data:`PLACES` where the caption shall say where the object is.
    """

    shape: str
    colour: str
    background: str
    motion: str
    fps: int
    x: float
    y: float
    radius: float
    angle: float
    place: str | None = None

    def pose(self, frame: float) -> tuple[float, float, float, float]:
        """Return ``x, y, radius, angle`` of the object at a (fractional) frame index."""
        seconds = frame / self.fps
        x, y, radius, angle = self.x, self.y, self.radius, self.angle
        if self.motion in DIRECTIONS:
            dx, dy = DIRECTIONS[self.motion]
            x, y = x + dx * SPEED * seconds, y + dy * SPEED * seconds
        elif self.motion == "grow":
            radius *= math.exp(GROWTH * seconds)
        elif self.motion == "shrink":
            radius *= math.exp(-GROWTH * seconds)
        elif self.motion == "spin":
            angle += SPIN * seconds
        return x, y, radius, angle


def held_out(scene: SyntheticScene) -> bool:
    """Return whether this combination of shape, colour, background and motion is never trained on.

    One combination in eight is. For any three of a scene's facts some values of the fourth stay
    in training, so every word is learnt, and only how words go together is left to be inferred.
    """
    place_in_grid = (
        5 * SHAPES.index(scene.shape)
        + 3 * list(COLOURS).index(scene.colour)
        + 2 * list(BACKGROUNDS).index(scene.background)
        + MOTIONS.index(scene.motion)
    )
    return place_in_grid % HELD_OUT_ONE_IN == 0


def sample_scene(
    rng: np.random.Generator,
    *,
    moving: float = 0.5,
    symmetric: float = 0.0,
    frames: int = 16,
    split: Split = "train",
) -> SyntheticScene:
    """Draw a scene.

    ``moving`` is the share of scenes with one of the four directions. A path starts near the
    centre; with probability ``symmetric`` it is centred on the canvas instead, so that the
    place of the object alone no longer tells its direction (start training without).
    ``split`` says on which side of :func:`held_out` it lies.
    """
    while True:
        scene = _any_scene(rng, moving=moving, symmetric=symmetric, frames=frames)
        if split == "all" or held_out(scene) == (split == "held-out"):
            return scene


def _any_scene(
    rng: np.random.Generator, *, moving: float, symmetric: float, frames: int
) -> SyntheticScene:
    directions = list(DIRECTIONS)
    others = [m for m in MOTIONS if m not in DIRECTIONS]
    motion = str(rng.choice(directions if rng.random() < moving else others))
    shape = str(rng.choice(SHAPES if motion != "spin" else SHAPES[1:]))
    scene = SyntheticScene(
        shape=shape,
        colour=str(rng.choice(list(COLOURS))),
        background=str(rng.choice(list(BACKGROUNDS))),
        motion=motion,
        fps=int(rng.choice(FPS_LABELS)),
        x=CANVAS / 2 + rng.uniform(-6, 6),
        y=CANVAS / 2 + rng.uniform(-6, 6),
        radius=rng.uniform(11, 14),
        angle=0.0,
    )
    if motion == "grow":
        scene = replace(scene, radius=rng.uniform(9, 11))
    elif motion == "shrink":
        scene = replace(scene, radius=rng.uniform(16, 20))
    elif motion in DIRECTIONS:
        dx, dy = DIRECTIONS[motion]
        if rng.random() < symmetric:
            back = SPEED * (frames - 1) / scene.fps / 2
        else:
            back = 2.0
        scene = replace(
            scene,
            x=CANVAS / 2 - dx * back + rng.uniform(-7, 7) * (dx == 0) + rng.uniform(-2, 2),
            y=CANVAS / 2 - dy * back + rng.uniform(-7, 7) * (dy == 0) + rng.uniform(-2, 2),
        )
    return scene


def sample_placed_scene(rng: np.random.Generator) -> SyntheticScene:
    """Draw a scene of the training split that stands still near one side, which its caption names.

    A network without position embeddings finds left and right through the zeros at its borders
    alone. Objects far out make that a strong signal long before slow movements would.
    """
    while True:
        scene = _any_placed_scene(rng)
        if not held_out(scene):
            return scene


def _any_placed_scene(rng: np.random.Generator) -> SyntheticScene:
    place = str(rng.choice(list(PLACES)))
    dx, dy = PLACES[place]
    radius = rng.uniform(10, 14)
    out = CANVAS / 2 - radius - rng.uniform(0, 5)
    return SyntheticScene(
        shape=str(rng.choice(SHAPES)),
        colour=str(rng.choice(list(COLOURS))),
        background=str(rng.choice(list(BACKGROUNDS))),
        motion="still",
        fps=FPS_LABELS[0],
        x=CANVAS / 2 + dx * out + rng.uniform(-7, 7) * (dx == 0),
        y=CANVAS / 2 + dy * out + rng.uniform(-7, 7) * (dy == 0),
        radius=radius,
        angle=0.0,
        place=place,
    )


def _signed_distance(
    shape: str, x: npt.NDArray[np.float64], y: npt.NDArray[np.float64], radius: float
) -> npt.NDArray[np.float64]:
    """Signed distance in pixels (negative inside) of the shape centred at the origin."""
    if shape == "circle":
        return np.hypot(x, y) - radius
    if shape == "square":
        # A square of the circle's area differs from it by 6 % of the latents' variance, which a
        # network takes long to notice; one with corners further out, by 14 %.
        return np.maximum(np.abs(x), np.abs(y)) - radius
    if shape == "triangle":
        inner = radius * 0.62  # inradius; the apex points up
        side = np.abs(x) * math.cos(math.pi / 6) - y * 0.5
        return np.maximum(side, y) - inner
    raise ValueError(f"unknown shape {shape!r}; known are {', '.join(SHAPES)}")


def render(scene: SyntheticScene, frame_indices: npt.ArrayLike) -> torch.Tensor:
    """Render the frames with the given indices.

    Returns a uint8 tensor ``[F, 3, CANVAS, CANVAS]``; edges are antialiased over one pixel.
    """
    grid = np.arange(CANVAS, dtype=np.float64) + 0.5
    ys, xs = np.meshgrid(grid, grid, indexing="ij")  # [H, W]
    ink = np.asarray(COLOURS[scene.colour], dtype=np.float64)
    paper = np.asarray(BACKGROUNDS[scene.background], dtype=np.float64)
    frames = []
    for index in np.asarray(frame_indices, dtype=np.float64):
        x, y, radius, angle = scene.pose(float(index))
        cos, sin = math.cos(angle), math.sin(angle)
        u = (xs - x) * cos + (ys - y) * sin
        v = -(xs - x) * sin + (ys - y) * cos
        cover = np.clip(0.5 - _signed_distance(scene.shape, u, v, radius), 0.0, 1.0)[..., None]
        frames.append(paper + cover * (ink - paper))  # [H, W, 3]
    stacked = np.stack(frames).round().astype(np.uint8)  # [F, H, W, 3]
    return torch.from_numpy(stacked).permute(0, 3, 1, 2).contiguous()
