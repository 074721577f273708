"""The samples that the steps of a diffusion recipe hold: their number, frames and sizes."""

from __future__ import annotations

from dataclasses import dataclass

from training.data.config import ResolutionConfig, WindowConfig
from training.data.errors import DataError
from training.data.manifest import read_manifest
from training.data.synthetic import CANVAS
from training.recipe.model import DiffusionStage, RecipeError
from training.recipe.sections import LatentData, MediaData

REDUCTION = 8
"""Pixels a side of one latent, of Stable Diffusion's autoencoder and of the demo's."""


@dataclass(frozen=True, slots=True)
class StepShape:
    """One kind of step.

    Attributes:
        name: of a sample of it: "clip", "picture".
        share: of the steps, 0 to 1.
        samples: of all processes and passes.
        frames: of a sample.
        height: in pixels. Likewise ``width``.
        encodes: the autoencoder works in the step, since the data is no latents yet.
    """

    name: str
    share: float
    samples: int
    frames: int
    height: int
    width: int
    encodes: bool

    @property
    def latents(self) -> tuple[int, int, int]:
        """Frames, height and width of a sample's latents."""
        return self.frames, self.height // REDUCTION, self.width // REDUCTION


def step_shapes(stage: DiffusionStage, batch_size: int) -> tuple[StepShape, ...]:
    """The kinds of steps that come at all; their shares add up to 1.

    Raises:
        RecipeError: precomputed latents that say their sizes are not there.
    """
    share, pictures = stage.image_share, stage.image_batch
    if stage.data is not None:
        share = stage.data.picture_share
    resolution, frames = trained_on(stage)
    if stage.data is not None:
        pictures = stage.data.picture_batch or batch_size * frames
    like = (resolution.height, resolution.width, isinstance(stage.data, MediaData))
    shapes = (
        StepShape("clip", 1 - share, batch_size, frames, *like),
        StepShape("picture", share, pictures, 1, *like),
    )
    return tuple(shape for shape in shapes if shape.share > 0)


def trained_on(stage: DiffusionStage) -> tuple[ResolutionConfig, int]:
    """The sizes of a stage's clips in pixels, and their frames.

    Raises:
        RecipeError: precomputed latents that say their sizes are not there, or are of pictures.
    """
    match stage.data:
        case MediaData() as data:
            return data.resolution, data.window.frames
        case LatentData() as data:
            try:
                made = read_manifest(data.clips).preprocessing
            except (DataError, OSError) as error:
                raise RecipeError(f"stage.data.clips: {error}") from error
            if made.get("window") is None:
                raise RecipeError(f"stage.data.clips: {data.clips} holds pictures, not clips")
            window = WindowConfig.model_validate(made["window"])
            return ResolutionConfig.model_validate(made["resolution"]), window.frames
        case None:
            world = ResolutionConfig(width=CANVAS, height=CANVAS, buckets=False)
            return world, stage.frames
