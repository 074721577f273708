"""Sections of the diffusion recipes: data, noise schedule, and what a model says of itself."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from training.data.config import DataConfig, DataSetConfig

PositiveInt = Annotated[int, Field(ge=1)]
Share = Annotated[float, Field(ge=0.0, le=1.0)]
FramesPerSecond = Annotated[int, Field(ge=1, le=120)]


Motion = Literal["left", "right", "up", "down", "grow", "shrink", "spin", "still"]


class RecipeSection(BaseModel):
    """A part of a recipe: it never changes, and knows all of its keys."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class ScheduleConfig(RecipeSection):
    """The forward process and what the network predicts of it; the defaults are the demo's.

    Betas are linear in their roots from 0.00085 to 0.012 over 1000 timesteps, always.
    """

    prediction: Literal["epsilon", "v_prediction"] = "v_prediction"
    """Prediction of the network: the noise, as the released models, or the velocity."""
    zero_terminal_snr: bool = True
    """Pure noise at the last timestep (arXiv 2305.08891); not with epsilon."""
    rescale_to: Annotated[float, Field(gt=0, le=1)] | None = None
    """Final value of the clean latent's rescale; the released models have 0.3, 0.7 or none."""

    @model_validator(mode="after")
    def _noise_cannot_be_read_from_noise(self) -> Self:
        if self.prediction == "epsilon" and self.zero_terminal_snr:
            raise ValueError('prediction = "epsilon" needs zero_terminal_snr = false')
        return self


class SyntheticDataConfig(RecipeSection):
    """Keys of the demo's small world, which is what a stage without ``[stage.data]`` trains on."""

    clips: PositiveInt = 6144
    """Procedural clips in the latent cache; captions are drawn anew each time."""
    moving: Share = 0.5
    """Share of clips that move in one of four directions; the others grow, shrink, spin or rest."""
    image_share: Share = 0.0
    """Share of steps that train on single frames and skip the temporal layers."""
    image_batch: PositiveInt = 64
    placed_share: Share = 0.0
    """Share of picture steps whose captions say where the object is."""
    placed_pictures: PositiveInt = 4096
    shows: Motion | None = None
    """Clips of this motion only; goes with ``says``."""
    says: Motion | None = None
    """The motion that their captions tell instead, so that the words come to mean ``shows``."""
    stride: PositiveInt = 1
    """Take every stride-th frame; the fps label is the native one over the stride."""
    frames: PositiveInt = 16


class MediaData(DataConfig):
    """Videos and pictures, decoded and encoded while training; see :class:`DataConfig`."""

    kind: Literal["media"]
    held_out: DataSetConfig | None = None
    """Clips that evaluations and samples use (default: some of ``clips``, spread over the set)."""


class LatentData(RecipeSection):
    """Latents that ``python -m training data precompute`` wrote beforehand.

    Sizes, windows, frame rates and their jitter were chosen there.
    """

    kind: Literal["latents"]
    clips: Path
    """Folder of the clips' latents."""
    pictures: Path | None = None
    """Folder of the pictures' latents (``precompute --pictures``)."""
    held_out: Path | None = None
    """Folder of the clips that evaluations and samples use (default: some of ``clips``)."""
    picture_share: Share = 0.0
    """Share of the steps that train on pictures (label 0)."""
    picture_batch: PositiveInt | None = None
    """Pictures of such a step over all processes (default: clips of a batch x frames)."""
    workers: Annotated[int, Field(ge=0, le=256)] = 2
    prefetch: Annotated[int, Field(ge=0, le=64)] = 2

    @model_validator(mode="after")
    def _pictures_for_picture_steps(self) -> Self:
        if self.picture_share > 0 and self.pictures is None:
            raise ValueError("picture_share: pictures must name the folder of their latents")
        return self


StageData = Annotated[MediaData | LatentData, Field(discriminator="kind")]


LoraTargets = Literal["attention", "spatial", "temporal"]


class LoraSection(RecipeSection):
    """Train low-rank updates of a model that stays frozen (arXiv 2106.09685), and export these."""

    rank: Annotated[int, Field(ge=1, le=512)] = 8
    alpha: Annotated[float, Field(gt=0)] | None = None
    """An update is ``alpha / rank`` times the product of its two matrices; None: as the rank."""
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.0
    targets: LoraTargets = "attention"
    """Attention layers to update: all, those within frames, or those over time."""
    base: Annotated[str, Field(min_length=1, max_length=64)] | None = None
    """Name of the model that is updated (default: what the folder ``stage.start`` says)."""
    title: Annotated[str, Field(min_length=1, max_length=80)] | None = None
    trigger_words: tuple[Annotated[str, Field(min_length=1)], ...] = ()
    """Words that prompts need for the LoRA to show; for people, nothing is done with them."""
    licence: Annotated[str, Field(min_length=1)] | None = None
    """Of the LoRA (default: that of the model)."""


class ModelCardConfig(RecipeSection):
    """Facts that ``python -m training export`` puts in the model folder for people and the bot."""

    title: Annotated[str, Field(min_length=1, max_length=80)]
    licence: Annotated[str, Field(min_length=1)]
    """Of the weights: it follows from the data and from the model that training began with."""
    fps: Annotated[tuple[FramesPerSecond, ...], Field(min_length=1)] = (8, 12, 16, 24, 28)
    default_fps: FramesPerSecond = 8
    steps: Annotated[int, Field(ge=1, le=100)] = 25
    guidance: Annotated[float, Field(ge=1, le=20)] = 12.0

    @model_validator(mode="after")
    def _default_is_a_choice(self) -> Self:
        if self.default_fps not in self.fps:
            raise ValueError(f"default_fps {self.default_fps} is not one of fps {list(self.fps)}")
        return self
