"""What an evaluation found, as numbers with intervals and as JSON."""

from __future__ import annotations

import json
import math
import statistics
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any

import numpy as np
import numpy.typing as npt

from training.evaluation.prompts import Prompt
from training.judge import Verdict

FORMAT = 1
"""Version of the JSON layout."""

ASPECTS = ("colour", "background", "shape", "motion", "direction")
"""What a prompt may demand."""

Setting = str | int | float | bool | None


@dataclass(frozen=True, slots=True)
class Rate:
    """A share of ``total`` trials."""

    hits: int
    total: int

    @property
    def share(self) -> float | None:
        """``hits / total``; ``None`` without trials."""
        return self.hits / self.total if self.total else None

    @property
    def interval(self) -> tuple[float, float]:
        """Wilson's 95 % interval, which stays sound near 0 and 1 and for few trials."""
        if not self.total:
            return 0.0, 1.0
        z, n, p = 1.959964, self.total, self.hits / self.total
        centre = (p + z * z / (2 * n)) / (1 + z * z / n)
        half = z * math.sqrt(p * (1 - p) / n + z * z / (4 * n * n)) / (1 + z * z / n)
        # At the ends rounding would leave a tail of 1e-17 beyond the possible.
        return max(centre - half, 0.0), min(centre + half, 1.0)

    def __str__(self) -> str:
        low, high = self.interval
        share = "no trials" if self.share is None else f"{self.share:.0%} ({low:.0%}-{high:.0%})"
        return f"{self.hits}/{self.total} = {share}"


@dataclass(frozen=True, slots=True)
class ClipRecord:
    """One judged clip."""

    prompt: Prompt
    seed: int
    verdict: Verdict

    def agrees(self, aspect: str) -> bool | None:
        """Whether the clip shows what the prompt demands; ``None`` if it demands nothing.

        Raises:
            KeyError: If ``aspect`` is not one of :data:`ASPECTS`.
        """
        if aspect not in ASPECTS:
            raise KeyError(aspect)
        wanted = getattr(self.prompt, aspect)
        shown = getattr(self.verdict, "motion" if aspect == "direction" else aspect)
        return None if wanted is None else bool(shown == wanted)

    @property
    def obeys(self) -> bool:
        """Whether a steady clip shows everything that the prompt demands."""
        return self.verdict.steady and all(self.agrees(a) is not False for a in ASPECTS)


@dataclass(frozen=True, slots=True)
class Report:
    """An evaluation: its settings, every clip's verdict, and what they add up to.

    ``frames`` uint8 ``[N, F, 3, H, W]`` are the judged clips for a contact sheet; they are not
    part of the JSON.
    """

    settings: Mapping[str, Setting]
    clips: tuple[ClipRecord, ...]
    frames: npt.NDArray[np.uint8] | None = field(default=None, repr=False, compare=False)

    @property
    def rates(self) -> dict[str, Rate]:
        """Agreement per aspect (over the clips whose prompt demands it), and over all clips.

        ``obeyed``: steady and everything as demanded; ``found``: shows one object; ``steady``.
        """
        result = {}
        for aspect in ASPECTS:
            votes = [v for clip in self.clips if (v := clip.agrees(aspect)) is not None]
            result[aspect] = Rate(sum(votes), len(votes))
        result["obeyed"] = Rate(sum(clip.obeys for clip in self.clips), len(self.clips))
        result["found"] = Rate(sum(clip.verdict.found for clip in self.clips), len(self.clips))
        result["steady"] = Rate(sum(clip.verdict.steady for clip in self.clips), len(self.clips))
        return result

    @property
    def median_jerk(self) -> float | None:
        """Median over the clips that have a path, px; ``None`` if none has."""
        jerks = [c.verdict.jerk for c in self.clips if c.verdict.jerk is not None]
        return statistics.median(jerks) if jerks else None

    def summary(self) -> str:
        """A few lines for a terminal."""
        lines = [f"{name:<10} {rate}" for name, rate in self.rates.items()]
        jerk = self.median_jerk
        lines.append(f"{'jerk':<10} {'none' if jerk is None else f'{jerk:.2f} px (median)'}")
        if (kept := self.settings.get("first_frame_psnr")) is not None:
            lines.append(f"{'picture':<10} {kept:.1f} dB (first frame, mean)")
        return "\n".join(lines)

    def to_json(self) -> str:
        """Write settings, totals and clips as strict JSON."""
        rates = {
            name: {**asdict(rate), "share": rate.share, "interval": rate.interval}
            for name, rate in self.rates.items()
        }
        document = {
            "format": FORMAT,
            "settings": dict(self.settings),
            "rates": rates,
            "median_jerk": self.median_jerk,
            "clips": [asdict(clip) for clip in self.clips],
        }
        return json.dumps(document, indent=1, allow_nan=False)

    @classmethod
    def from_json(cls, text: str) -> Report:
        """Read what :meth:`to_json` wrote; the totals are computed anew from the clips.

        Raises:
            ValueError: If the text is not such a report; the message says where.
        """
        document = json.loads(text)
        if not isinstance(document, dict) or document.get("format") != FORMAT:
            raise ValueError(f"not an evaluation report of format {FORMAT}")
        try:
            clips = tuple(_clip(entry) for entry in document["clips"])
            settings = dict(document["settings"])
        except (KeyError, TypeError) as error:
            raise ValueError(f"broken evaluation report: {error}") from error
        return cls(settings, clips)


def _clip(entry: Mapping[str, Any]) -> ClipRecord:
    verdict = dict(entry["verdict"])
    missing = {f.name for f in fields(Verdict)} ^ verdict.keys()
    if missing:
        raise ValueError(f"broken evaluation report: verdict fields {sorted(missing)}")
    if verdict["displacement"] is not None:
        right, down = verdict["displacement"]
        verdict["displacement"] = float(right), float(down)
    return ClipRecord(Prompt(**entry["prompt"]), int(entry["seed"]), Verdict(**verdict))
