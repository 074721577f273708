"""Every limit the judge uses, with the reason for its value.

Lengths are pixels of a 64-pixel canvas and are scaled with the short side of the clip. Rates
are per frame. The world's slowest movement is the one at the highest fps label (24): a path of
0.44 px, a growth of the radius by a factor of e^0.019 and a turn of 0.065 rad per frame.
"""

from __future__ import annotations

from dataclasses import dataclass, fields

REFERENCE_SIDE = 64
"""Side of the canvas, in pixels, that the lengths below refer to."""


@dataclass(frozen=True, slots=True)
class Thresholds:
    """Limits of :func:`training.judge.judge`; the defaults are tuned to the world."""

    min_contrast: float = 20.0
    """Least Lab distance of an object from the background: a third of the world's smallest (62,
    blue on navy). The brightest pixels of strong noise exceed it; ``min_core`` refuses those."""

    min_area: float = 0.008
    """Least share of the canvas: 0.4 of the smallest object, a shrunken triangle of 83 px."""

    max_area: float = 0.75
    """Largest share of the canvas. Beyond it "object" and "background" have changed places."""

    min_core: float = 0.25
    """Least share of the object left by a 3x3 erosion. The smallest triangle keeps 0.46, a disc
    of radius 5 0.55; thin lines and the chance clusters of pixel noise keep under 0.1."""

    min_dominance: float = 0.6
    """Least share of all foreground pixels that lies in the object: two equal blobs have 0.5."""

    min_visible: float = 0.5
    """Least share of frames that show the object for the clip to count as showing one."""

    steady_visible: float = 0.9
    """The same for a steady clip: one frame of sixteen may fail, not two."""

    max_colour_distance: float = 30.0
    """Farthest Lab distance that still earns an object's colour name. Names lie 32 (blue, purple)
    or more apart, so a colour beyond this is none of them rather than a tint of one."""

    max_background_distance: float = 20.0
    """The same for backgrounds, which lie 30 (black, navy) or more apart."""

    max_misfit: float = 0.35
    """Largest area, as a share of the object's, by which the ideal shape may differ from it. A
    rendered shape has under 0.01, one under noise of 24 dB up to 0.24, the rounded one of a
    half-trained autoencoder up to 0.27; a cross 0.41, a 2:1 ellipse 0.43, a ring 0.9."""

    max_jerk: float = 2.0
    """Mean length of the second difference of the centroid (px) from which a path is jitter. True
    motion measures under 0.3; a blob redrawn at a random place in each frame 12 to 16."""

    min_speed: float = 0.22
    """Least speed of a direction: half of the world's slowest."""

    min_growth: float = 0.0094
    """Least change of the log radius: half of the world's slowest."""

    min_spin: float = 0.033
    """Least turn (rad): half of the world's slowest."""

    min_axis_ratio: float = 1.5
    """A direction's speed over the speed across it; less is a diagonal, which has no name."""

    min_trend: float = 4.0
    """Change over the clip in standard deviations of what the straight trend leaves over. Pure
    jitter has about 1, one turn of a circle 2, a true motion at 24 dB over 10."""

    max_drift: float = 1.5
    """Largest standard deviation of the position (px) about its mean while standing still: a
    closed circle has no net motion but is not still."""

    max_area_variation: float = 0.12
    """Largest standard deviation of the log area about its trend in a steady clip. Rendered
    scenes have 0.01, at 24 dB 0.04, cut off by the edge of the canvas 0.1; redrawing the object
    in each frame gives 0.3 and more."""

    max_colour_variation: float = 10.0
    """Largest mean Lab distance of the frames' colours from their median in a steady clip: a
    third of the distance between two names."""

    def __post_init__(self) -> None:
        """Refuse limits that mean nothing.

        Raises:
            ValueError: If a limit is not positive, or a share of the canvas, of the object or of
                the frames is above 1.
        """
        shares = ("min_area", "max_area", "min_core", "min_dominance", "min_visible")
        for name in (f.name for f in fields(self)):
            value = getattr(self, name)
            top = 1.0 if name in (*shares, "steady_visible") else float("inf")
            if not 0 < value <= top:
                raise ValueError(f"{name} must be in (0, {top:g}], not {value}")
