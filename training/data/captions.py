"""Captions for the procedural world: varied words for the facts of a scene."""

from __future__ import annotations

import string
from collections.abc import Sequence

import numpy as np

from training.data.synthetic import COLOURS, SyntheticScene

SHAPE_WORDS: dict[str, Sequence[str]] = {
    "circle": ("circle", "circle", "ball", "disc", "dot"),
    "square": ("square", "square", "box", "block"),
    "triangle": ("triangle", "triangle", "pyramid"),
}
BACKGROUND_WORDS: dict[str, Sequence[str]] = {
    "black": ("black",),
    "white": ("white",),
    "grey": ("grey", "gray"),
    "navy": ("navy", "dark blue", "navy blue"),
}
VERBS = (
    ("moving", "moves"),
    ("moving", "moves"),
    ("sliding", "slides"),
    ("drifting", "drifts"),
    ("going", "goes"),
    ("floating", "floats"),
    ("flying", "flies"),
    ("rolling", "rolls"),
    ("travelling", "travels"),
)
DIRECTION_WORDS: dict[str, Sequence[str]] = {
    "left": ("left", "to the left", "to the left", "leftwards", "towards the left"),
    "right": ("right", "to the right", "to the right", "rightwards", "towards the right"),
    "up": ("up", "upwards", "to the top", "up the screen"),
    "down": ("down", "downwards", "to the bottom", "down the screen"),
}
OTHER_MOTION_WORDS: dict[str, Sequence[str]] = {
    "up": ("rising", "rises", "climbing"),
    "down": ("falling", "falls", "sinking", "dropping"),
    "grow": ("growing", "grows", "getting bigger", "becoming larger", "expanding"),
    "shrink": ("shrinking", "shrinks", "getting smaller", "becoming smaller"),
    "spin": ("spinning", "spins", "rotating", "rotates", "turning around"),
    "still": ("standing still", "not moving", "resting", "that does not move", ""),
}
OPENINGS = ("", "", "", "", "a video of ", "a clip of ", "an animation of ", "show me ")
PLACE_WORDS: dict[str, Sequence[str]] = {
    "left": ("on the left", "to the left", "at the left"),
    "right": ("on the right", "to the right", "at the right"),
    "top": ("at the top", "up", "up at the top"),
    "bottom": ("at the bottom", "down", "down at the bottom"),
}
# Words people add by habit; seen in training so that they do no harm.
CLOSINGS = ("", "", "", "", "", ", 4k", ", high quality", ", smooth", " please", ", cinematic")


def motion_words(motion: str, rng: np.random.Generator) -> str:
    """Return words for a motion of :data:`training.data.synthetic.MOTIONS`."""
    special = OTHER_MOTION_WORDS.get(motion, ())
    if motion not in DIRECTION_WORDS or (special and rng.random() < 0.25):
        return str(rng.choice(np.array(special)))
    verb = VERBS[int(rng.integers(len(VERBS)))][int(rng.integers(2))]
    return f"{verb} {rng.choice(np.array(DIRECTION_WORDS[motion]))}"


def _stray_word(rng: np.random.Generator) -> str:
    letters = rng.choice(np.array(list(string.ascii_lowercase)), size=int(rng.integers(2, 8)))
    return "".join(letters)


def caption(scene: SyntheticScene, rng: np.random.Generator) -> str:
    """Describe a scene in one lower-case line, e.g. ``a red ball drifting to the left on black``.

    Colour, shape and motion are always named; the background three times in four. One caption in
    sixteen carries a stray word that means nothing.
    """
    article = "" if rng.random() < 0.15 else ("an " if scene.colour[0] in "aeiou" else "a ")
    words = f"{article}{scene.colour} {rng.choice(np.array(SHAPE_WORDS[scene.shape]))}"
    if scene.place is not None:
        motion = str(rng.choice(np.array(PLACE_WORDS[scene.place])))
    else:
        motion = motion_words(scene.motion, rng)
    text = f"{words} {motion}".rstrip()
    if rng.random() < 0.75:
        paper = rng.choice(np.array(BACKGROUND_WORDS[scene.background]))
        form = rng.choice(np.array(("on a {} background", "on {}", "against a {} background")))
        text = f"{text} {str(form).format(paper)}"
    text = f"{rng.choice(np.array(OPENINGS))}{text}{rng.choice(np.array(CLOSINGS))}"
    if rng.random() < 1 / 16:
        text = f"{text} {_stray_word(rng)}"
    return text


def every_word() -> list[str]:
    """Return all words that captions can hold, for the tokenizer's vocabulary."""
    phrases: list[str] = [*OPENINGS, *CLOSINGS, "on a background", "against", "a an the in and"]
    phrases += COLOURS
    tables = (SHAPE_WORDS, BACKGROUND_WORDS, DIRECTION_WORDS, OTHER_MOTION_WORDS, PLACE_WORDS)
    for table in tables:
        for options in table.values():
            phrases += options
    phrases += [word for pair in VERBS for word in pair]
    words = {w.strip(",") for phrase in phrases for w in phrase.split()}
    return sorted(words - {""})
