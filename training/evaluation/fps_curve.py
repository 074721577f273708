"""Control of the speed by the fps label: the same prompts and noise at every label."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from itertools import combinations, pairwise
from typing import Any

from training.data.synthetic import CANVAS, SPEED
from training.evaluation.intervals import Distribution, Proportion
from training.evaluation.records import ClipRecord


@dataclass(frozen=True, slots=True)
class FpsCurve:
    """Speeds by fps label.

    ``labels`` ascend; ``speeds`` holds for each prompt the object's mean displacement in px per
    frame at every label, ``None`` where the judge found no object; ``truth`` is the world's own
    curve; ``directions`` says at every label how many clips went the way that was asked.
    """

    labels: tuple[int, ...]
    speeds: tuple[tuple[float | None, ...], ...]
    truth: tuple[float, ...]
    directions: tuple[Proportion, ...]

    @property
    def monotone(self) -> Proportion:
        """Prompts whose speed falls strictly from each label to the next; no tolerance."""
        return Proportion.of(
            all(_falls(slow, fast) for slow, fast in pairwise(row)) for row in self.speeds
        )

    @property
    def pairs(self) -> Proportion:
        """The same for all pairs of labels, counted one by one; pairs of a prompt are related."""
        return Proportion.of(
            _falls(slow, fast) for row in self.speeds for slow, fast in combinations(row, 2)
        )

    def spread(self, index: int) -> Distribution | None:
        """The speeds at one label."""
        return Distribution.of(row[index] for row in self.speeds)

    def to_dict(self) -> dict[str, Any]:
        """Return the curve as plain values for the JSON report."""
        points = []
        for index, label in enumerate(self.labels):
            spread = self.spread(index)
            points.append(
                {
                    "fps": label,
                    "speed": asdict(spread) if spread else None,
                    "truth": self.truth[index],
                    "direction": rate_to_dict(self.directions[index]),
                }
            )
        return {
            "prompts": len(self.speeds),
            "monotone": rate_to_dict(self.monotone),
            "pairs": rate_to_dict(self.pairs),
            "points": points,
        }


def fps_curve(clips: Sequence[ClipRecord], side: int) -> FpsCurve | None:
    """Gather clips of the same prompt and seed; ``side`` is the shorter of the clips, px.

    Prompts that lack a label are left out. ``None`` with fewer than two labels.
    """
    labels = tuple(sorted({clip.fps for clip in clips if clip.fps is not None}))
    if len(labels) < 2:
        return None
    groups: dict[tuple[str, int], dict[int, ClipRecord]] = {}
    for clip in clips:
        if clip.fps is not None:
            groups.setdefault((clip.prompt.text, clip.seed), {})[clip.fps] = clip
    whole = [group for group in groups.values() if len(group) == len(labels)]
    return FpsCurve(
        labels=labels,
        speeds=tuple(tuple(group[label].speed for label in labels) for group in whole),
        truth=tuple(SPEED / label * side / CANVAS for label in labels),
        directions=tuple(
            Proportion.of(g[label].agrees("direction") for g in whole) for label in labels
        ),
    )


def rate_to_dict(rate: Proportion) -> dict[str, Any]:
    """A rate with its share and interval, in JSON's types."""
    return {**asdict(rate), "share": rate.share, "interval": rate.interval}


def _falls(slow: float | None, fast: float | None) -> bool:
    return slow is not None and fast is not None and fast < slow
