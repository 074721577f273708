"""Prompts for evaluation, each with the facts that a clip must show to obey it."""

from __future__ import annotations

import re
from dataclasses import dataclass

import numpy as np

from training.data.captions import (
    BACKGROUND_WORDS,
    DIRECTION_WORDS,
    OTHER_MOTION_WORDS,
    SHAPE_WORDS,
    VERBS,
    caption,
)
from training.data.synthetic import COLOURS, DIRECTIONS, Split, SyntheticScene, sample_scene


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
    def has_facts(self) -> bool:
        """True if the prompt demands something that the judge can see."""
        return any((self.colour, self.background, self.shape, self.motion))

    @property
    def complete(self) -> bool:
        """True if the prompt demands something of all four aspects."""
        return None not in (self.colour, self.background, self.shape, self.motion)


@dataclass(frozen=True, slots=True)
class Case:
    """A scene and a prompt for it; an image-to-video model gets the scene's first frame."""

    scene: SyntheticScene
    prompt: Prompt


def describe(scene: SyntheticScene, rng: np.random.Generator) -> Prompt:
    """Caption a scene and keep the facts that the caption states."""
    text = caption(scene, rng)
    return Prompt(
        text=text,
        colour=scene.colour,
        background=scene.background if _states_background(text, scene.background) else None,
        shape=scene.shape,
        motion=scene.motion if _states_motion(text, scene.motion) else None,
    )


def recognise(text: str) -> Prompt:
    """Read the facts of the small world from anybody's words; none where they ask for other things.

    A fact that is not said, or said in two ways, is left open. Without a colour and a shape the
    prompt is about something else, and has no facts.
    """
    words = text.lower()
    papers = {word: name for name, options in BACKGROUND_WORDS.items() for word in options}
    background = None
    choices = "|".join(sorted(map(re.escape, papers), key=len, reverse=True))
    if found := re.search(rf"\b(?:on|against)(?: an?)? ({choices})(?: background)?\b", words):
        background = papers[found[1]]
        words = words[: found.start()] + words[found.end() :]
    colour = _only({name for name in COLOURS if _says(words, name)})
    shape = _only(
        {name for name, options in SHAPE_WORDS.items() if any(_says(words, w) for w in options)}
    )
    if colour is None or shape is None:
        return Prompt(text)
    return Prompt(text, colour, background, shape, _only(_motions(words)))


def _motions(words: str) -> set[str]:
    verbs = "|".join(verb for pair in VERBS for verb in pair)
    directions = {
        motion
        for motion, options in DIRECTION_WORDS.items()
        if re.search(rf"\b(?:{verbs}) (?:{'|'.join(map(re.escape, options))})\b", words)
    }
    return directions | {
        motion
        for motion, options in OTHER_MOTION_WORDS.items()
        if any(option and _says(words, option) for option in options)
    }


def _says(words: str, phrase: str) -> bool:
    return re.search(rf"\b{re.escape(phrase)}\b", words) is not None


def _only(names: set[str]) -> str | None:
    return next(iter(names)) if len(names) == 1 else None


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
