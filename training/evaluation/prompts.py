"""Prompts for evaluation, each with the facts that a clip must show to obey it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from training.data.captions import BACKGROUND_WORDS, OTHER_MOTION_WORDS, caption
from training.data.world import DIRECTIONS, Scene, Split, sample_scene


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

    @property
    def complete(self) -> bool:
        """True if the prompt demands something of all four aspects."""
        return None not in (self.colour, self.background, self.shape, self.motion)


@dataclass(frozen=True, slots=True)
class Case:
    """A scene and a prompt for it; an image-to-video model gets the scene's first frame."""

    scene: Scene
    prompt: Prompt


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


def draw_cases(n: int, seed: int, *, moving: float = 0.5, split: Split = "all") -> tuple[Case, ...]:
    """Draw ``n`` scenes with prompts; ``moving`` is the share of the four directions.

    The same arguments give the same cases, and a longer draw begins with the shorter one. Where
    ``split`` picks combinations of facts ("train", "held-out") the prompts state all four facts:
    a prompt that left one open would not ask for the combination.

    Raises:
        ValueError: If ``n`` is not positive.
    """
    if n < 1:
        raise ValueError(f"n must be 1 or more, not {n}")
    rng = np.random.default_rng(seed)
    cases = []
    for _ in range(n):
        scene = sample_scene(rng, moving=moving, split=split)
        prompt = describe(scene, rng)
        while split != "all" and not prompt.complete:
            prompt = describe(scene, rng)
        cases.append(Case(scene, prompt))
    return tuple(cases)


def draw_prompts(
    n: int, seed: int, *, moving: float = 0.5, split: Split = "all"
) -> tuple[Prompt, ...]:
    """The prompts of :func:`draw_cases`."""
    return tuple(case.prompt for case in draw_cases(n, seed, moving=moving, split=split))


def _states_background(text: str, background: str) -> bool:
    return any(
        f"on {word}" in text or f"a {word} background" in text
        for word in BACKGROUND_WORDS[background]
    )


def _states_motion(text: str, motion: str) -> bool:
    # Standing still is the one motion that a caption may leave unsaid.
    return motion != "still" or any(words and words in text for words in OTHER_MOTION_WORDS[motion])
