"""The small world as a data set: a sample is a number, and its frames are drawn when asked for."""

from __future__ import annotations

import numpy as np

from training.data.captions import caption
from training.data.sources.sample import Sample
from training.data.synthetic import CANVAS, sample_scene

SCENE_SEED = 10_000


class ProceduralSource:
    """``count`` clips of :mod:`training.data.synthetic`, the same ones for the same seed."""

    def __init__(self, count: int, *, seed: int = SCENE_SEED, moving: float = 0.5) -> None:
        self.kind = "procedural"
        self.groups: tuple[int, ...] = (count,)
        self.notes: tuple[str, ...] = ()
        self._seed = seed
        self._moving = moving

    def sample(self, index: int) -> Sample:
        """The clip with this number; see :class:`training.data.sources.sample.DataSource`."""
        rng = np.random.default_rng([self._seed, index])
        scene = sample_scene(rng, moving=self._moving)
        words = caption(scene, rng)
        return Sample(f"scene-{index}", "video", words, scene, CANVAS, CANVAS)
