"""Data and steps of the two stages that train a video model."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from torch import nn

from training.loop.task import StepKind
from training.recipe.model import DiffusionStage, Optimisation
from training.recipe.shapes import step_shapes
from training.stages.batches import BatchSource, VideoBatch
from training.stages.components import Components, frozen, frozen_dtype
from training.stages.conditioning import TextCondition
from training.stages.diffusion import make_stage_scheduler
from training.stages.media import encode_batch
from training.stages.sources import make_source
from training.stages.stage_task import StageTask
from training.stages.tokenizer import MAX_TOKENS


class VideoTask(StageTask[VideoBatch]):
    """Denoise clips and pictures of a data section.

    Args:
        stage: of the recipe.
        plan: of the recipe.
        seed: of the recipe.
        networks: where the parts of the model come from.
        trains_text: the text tower is part of what is trained.
    """

    text: TextCondition

    def __init__(
        self,
        stage: DiffusionStage,
        plan: Optimisation,
        seed: int,
        networks: Components,
        *,
        trains_text: bool,
    ) -> None:
        self._section, self._plan, self._seed, self._networks = stage, plan, seed, networks
        self._trains_text = trains_text
        self._source: BatchSource | None = None
        with torch.device("cpu"):  # where the schedule belongs, also of a task on the meta device
            self.scheduler = make_stage_scheduler(stage.schedule)

    @property
    def source(self) -> BatchSource:
        """The data, opened when it is first asked for.

        Raises:
            RecipeError: sizes or batches do not fit.
            TrainingError: a data set cannot be used.
        """
        if self._source is None:
            self._source = make_source(
                self._section,
                self._plan,
                self._networks,
                seed=self._seed,
                frozen_text=not self._trains_text,
            )
        return self._source

    def open(self) -> None:
        """Open the data, so that what is wrong with it is said before anything is computed."""
        _ = self.source

    def draw(self, rng: np.random.Generator, step: int) -> VideoBatch:
        return self.source.batch(rng, step).to(self.device)

    def step_kinds(self) -> tuple[StepKind, ...]:
        shapes = step_shapes(self._section, self._plan.batch_size)
        return tuple(StepKind(shape.name, shape.share, shape.samples) for shape in shapes)

    def example_batch(self, kind: str, count: int) -> VideoBatch:
        shapes = step_shapes(self._section, self._plan.batch_size)
        shape = next(shape for shape in shapes if shape.name == kind)
        captions, fps = ("a caption",) * count, torch.zeros(count, device=self.device)
        pixels = torch.zeros(count, 3, shape.height, shape.width)
        if shape.encodes:
            vae = frozen(self._networks.vae(self._section), frozen_dtype(self._plan))
            frames = pixels[:, None].to(self.device).expand(-1, shape.frames, -1, -1, -1)
            batch = encode_batch(vae, frames, captions, fps, pictures=kind == "picture")
        else:
            latents = torch.zeros(count, 4, *shape.latents, device=self.device)
            batch = VideoBatch(latents, captions, fps, pictures=kind == "picture")
        features = None
        if not self._trains_text:  # a frozen tower may have computed them beforehand
            width = self.text.encoder.config.hidden_size
            features = torch.zeros(count, MAX_TOKENS, width, device=self.device)
        return replace(
            batch,
            text=features,
            empty_text=None if features is None else features[0],
            frame_pixels=lambda _: pixels,
        )

    def prepare(self, device: torch.device) -> None:
        super().prepare(device)
        nn.Module.to(self.text.encoder, device)
        self.source.prepare(device)

    def sample_size(self) -> str:
        return self.source.sample_size()

    def counts(self) -> dict[str, float]:
        return self.source.counts()

    def close(self) -> None:
        if self._source is not None:
            self._source.close()

    def keep_frozen_text(self, folder: Path) -> None:
        """Hand a frozen text tower on with the model."""
        self._networks.keep_frozen_text(self._section, folder)
