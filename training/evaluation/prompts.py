"""Prompts for evaluation, each with the facts that a clip must show to obey it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from training.data.captions import BACKGROUND_WORDS, OTHER_MOTION_WORDS, caption
from training.data.world import DIRECTIONS, Scene, sample_scene


@dataclass(frozen=True, slots=True)
class Prompt:
    """A prompt and what it demands; ``None`` for what it leaves open."""

    text: str
    colour: str | None = None
    background: str | None = None
    shape: str | None = None
    motion: str | None = None

    @property
    def direction(self) -> str | None:
        """The demanded motion if it is one of the four directions."""
        return self.motion if self.motion in DIRECTIONS else None


def describe(scene: Scene, rng: np.random.Generator) -> Prompt:
    """Caption a scene and keep the facts that the caption states."""
    text = caption(scene, rng)
    return Prompt(
        text=text,
        colour=scene.colour,
        background=scene.background if _states_background(text, scene.background) else None,
        shape=scene.shape,
        motion=scene.motion if _states_motion(text, scene.motion) else None,
    )


def draw_prompts(n: int, seed: int, *, moving: float = 0.7) -> tuple[Prompt, ...]:
    """Draw ``n`` prompts; ``moving`` is the share that asks for one of the four directions.

    The same ``n``, ``seed`` and ``moving`` give the same prompts, and a longer draw begins with
    the shorter one.

    Raises:
        ValueError: If ``n`` is not positive.
    """
    if n < 1:
        raise ValueError(f"n must be 1 or more, not {n}")
    rng = np.random.default_rng(seed)
    return tuple(describe(sample_scene(rng, moving=moving), rng) for _ in range(n))


def _states_background(text: str, background: str) -> bool:
    return any(
        f"on {word}" in text or f"a {word} background" in text
        for word in BACKGROUND_WORDS[background]
    )


def _states_motion(text: str, motion: str) -> bool:
    # Standing still is the one motion that a caption may leave unsaid.
    return motion != "still" or any(words and words in text for words in OTHER_MOTION_WORDS[motion])
