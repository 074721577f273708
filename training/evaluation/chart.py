"""The fps curve as shapes of an SVG; the template gives them ink."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from training.evaluation.fps_curve import FpsCurve

WIDTH, HEIGHT = 560, 300
_LEFT, _RIGHT, _TOP, _BOTTOM = 56, 16, 16, 44


@dataclass(frozen=True, slots=True)
class Tick:
    """A mark on an axis: its place in pixels and its text."""

    at: float
    text: str


@dataclass(frozen=True, slots=True)
class Chart:
    """Points are SVG's ``x,y x,y ...`` in a view box of :data:`WIDTH` by :data:`HEIGHT`.

    ``line`` joins the medians, ``band`` outlines the middle half of the prompts, ``truth`` is the
    world's curve, ``rows`` are single prompts.
    """

    line: str
    dots: tuple[tuple[float, float], ...]
    band: str
    truth: str
    rows: tuple[str, ...]
    x_ticks: tuple[Tick, ...]
    y_ticks: tuple[Tick, ...]
    width: int = WIDTH
    height: int = HEIGHT
    left: int = _LEFT
    right: int = WIDTH - _RIGHT
    top: int = _TOP
    bottom: int = HEIGHT - _BOTTOM


def draw_curve(curve: FpsCurve) -> Chart:
    """Lay out a curve: fps label to the right, px per frame upwards from zero."""
    spreads = [curve.spread(i) for i in range(len(curve.labels))]
    highs = [spread.quartiles[1] for spread in spreads if spread]
    top = 1.15 * max([*curve.truth, *highs])
    first, last = curve.labels[0], curve.labels[-1]

    def x(label: float) -> float:
        share = (label - first) / (last - first)
        return round(_LEFT + 24 + share * (WIDTH - _LEFT - _RIGHT - 48), 1)

    def y(speed: float) -> float:
        return round(HEIGHT - _BOTTOM - min(speed / top, 1) * (HEIGHT - _TOP - _BOTTOM), 1)

    def path(points: Sequence[tuple[float, float]]) -> str:
        return " ".join(f"{x(label)},{y(speed)}" for label, speed in points)

    known = [(label, s) for label, s in zip(curve.labels, spreads, strict=True) if s]
    lower = [(label, s.quartiles[0]) for label, s in known]
    upper = [(label, s.quartiles[1]) for label, s in known]
    rows = []
    for speeds in curve.speeds:
        points = [(n, s) for n, s in zip(curve.labels, speeds, strict=True) if s is not None]
        rows.append(path(points))
    step = _round_step(top / 4)
    return Chart(
        line=path([(label, s.median) for label, s in known]),
        dots=tuple((x(label), y(s.median)) for label, s in known),
        band=path([*upper, *reversed(lower)]),
        truth=path(list(zip(curve.labels, curve.truth, strict=True))),
        rows=tuple(rows),
        x_ticks=tuple(Tick(x(label), str(label)) for label in curve.labels),
        y_ticks=tuple(Tick(y(i * step), f"{i * step:g}") for i in range(int(top / step) + 1)),
    )


def _round_step(step: float) -> float:
    """The next of 1, 2 and 5 times a power of ten."""
    power: float = 10.0 ** len(str(int(step))) if step >= 1 else 1.0
    while power > step:
        power /= 10
    return next(power * factor for factor in (1, 2, 5, 10) if power * factor >= step)
