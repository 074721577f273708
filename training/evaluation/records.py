"""One judged clip: what was asked, what the judge saw, what was measured."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any

import numpy as np
import numpy.typing as npt

from training.evaluation.clip_metrics import ClipMetrics, added_metrics, measure
from training.evaluation.metrics.agreement import ASPECTS
from training.evaluation.metrics.metric import EvaluatedClip, measured
from training.evaluation.prompts import Prompt
from training.judge import Verdict

LARGEST_SIDE = 128
"""Kept frames are made no larger than this, pixels."""


@dataclass(frozen=True, slots=True)
class ClipRecord:
    """One judged clip.

    ``fps`` is the label it was made with. ``first_frame_psnr`` (dB) compares its first frame with
    the picture that an image-to-video model was given. ``frames`` uint8 ``[F, 3, h, w]``, reduced
    to :data:`LARGEST_SIDE`, are for people to look at; they are not part of the JSON.
    """

    prompt: Prompt
    seed: int
    verdict: Verdict
    fps: int | None = None
    figures: ClipMetrics | None = None
    first_frame_psnr: float | None = None
    metrics: Mapping[str, float | None] = field(default_factory=dict)
    frames: npt.NDArray[np.uint8] | None = field(default=None, repr=False, compare=False)

    @classmethod
    def of(
        cls,
        clip: npt.NDArray[np.uint8],
        prompt: Prompt,
        seed: int,
        *,
        fps: int | None = None,
        first_frame_psnr: float | None = None,
    ) -> ClipRecord:
        """Judge and measure a clip, uint8 ``[F, 3, H, W]``.

        Raises:
            ValueError: If the judge refuses the clip's shape.
        """
        seen = EvaluatedClip(clip, fps)
        metrics = {m.name: measured(m, [seen], [prompt])[0] for m in added_metrics()}
        return cls.of_evaluated(
            seen, prompt, seed, first_frame_psnr=first_frame_psnr, metrics=metrics
        )

    @classmethod
    def of_evaluated(
        cls,
        clip: EvaluatedClip,
        prompt: Prompt,
        seed: int,
        *,
        first_frame_psnr: float | None,
        metrics: Mapping[str, float | None],
    ) -> ClipRecord:
        """Record a clip with metrics that were measured already.

        Raises:
            ValueError: If the judge refuses the clip's shape.
        """
        return cls(
            prompt=prompt,
            seed=seed,
            verdict=clip.verdict,
            fps=clip.fps,
            figures=measure(clip),
            first_frame_psnr=first_frame_psnr,
            metrics=metrics,
            frames=_reduced(clip.frames),
        )

    def agrees(self, aspect: str) -> bool | None:
        """Return whether the clip shows what the prompt demands; ``None`` if it demands nothing.

        Raises:
            KeyError: If ``aspect`` is none that a prompt may demand.
        """
        if aspect not in ASPECTS:
            raise KeyError(aspect)
        wanted = getattr(self.prompt, aspect)
        shown = getattr(self.verdict, "motion" if aspect == "direction" else aspect)
        return None if wanted is None else bool(shown == wanted)

    @property
    def obeys(self) -> bool:
        """True if the clip is steady and shows everything that the prompt demands."""
        return self.verdict.steady and all(self.agrees(a) is not False for a in ASPECTS)

    @property
    def colour_change(self) -> float | None:
        """The object's relative change of colour, which no prompt asks for."""
        return self.figures.colour_change if self.figures else None

    @property
    def size_change(self) -> float | None:
        """The object's relative change of size; ``None`` where the prompt asks for one."""
        if self.figures is None or self.prompt.motion in ("grow", "shrink"):
            return None
        return self.figures.size_change

    @property
    def speed(self) -> float | None:
        """Length of the object's mean velocity, px per frame."""
        if self.verdict.displacement is None:
            return None
        return float(np.hypot(*self.verdict.displacement))

    def to_dict(self) -> dict[str, Any]:
        """Everything but the frames, in JSON's types."""
        added = {"metrics": dict(self.metrics)} if self.metrics else {}
        return {
            "prompt": asdict(self.prompt),
            "seed": self.seed,
            "fps": self.fps,
            "obeys": self.obeys,
            "first_frame_psnr": self.first_frame_psnr,
            "verdict": asdict(self.verdict),
            "figures": asdict(self.figures) if self.figures else None,
            **added,
        }

    @classmethod
    def from_dict(cls, entry: Mapping[str, Any]) -> ClipRecord:
        """Read what :meth:`to_dict` gave.

        Raises:
            KeyError, TypeError, ValueError: It is something else.
        """
        verdict = dict(entry["verdict"])
        if odd := {f.name for f in fields(Verdict)} ^ verdict.keys():
            raise ValueError(f"verdict fields {sorted(odd)}")
        if verdict["displacement"] is not None:
            right, down = verdict["displacement"]
            verdict["displacement"] = float(right), float(down)
        return cls(
            prompt=Prompt(**entry["prompt"]),
            seed=int(entry["seed"]),
            verdict=Verdict(**verdict),
            fps=entry["fps"],
            figures=ClipMetrics(**entry["figures"]) if entry["figures"] else None,
            first_frame_psnr=entry["first_frame_psnr"],
            metrics=dict(entry.get("metrics", {})),
        )


def _reduced(clip: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    step = -(-max(clip.shape[2:]) // LARGEST_SIDE)
    if step == 1:
        return clip
    height, width = (side // step * step for side in clip.shape[2:])
    blocks = clip[:, :, :height, :width].reshape(
        *clip.shape[:2], height // step, step, width // step, step
    )
    small: npt.NDArray[np.uint8] = blocks.mean(axis=(3, 5)).round().astype(np.uint8)
    return small
