"""Training recipes: validated TOML files, one a stage."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

RECIPE_FOLDER = Path(__file__).parent / "recipes"

PositiveInt = Annotated[int, Field(ge=1)]
Share = Annotated[float, Field(ge=0.0, le=1.0)]


class RecipeError(ValueError):
    """A recipe that cannot be read or holds a wrong value; the text names the key."""


class _Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Optimisation(_Section):
    """How the weights are moved: AdamW, a warm-up of some steps, a constant part, a cosine.

    ``batch_size`` is that of all processes together.
    """

    steps: PositiveInt
    batch_size: PositiveInt
    learning_rate: Annotated[float, Field(gt=0, le=1)]
    warmup: Annotated[int, Field(ge=0)] = 100
    constant_share: Share = 0.3
    """Share of the steps at the full rate, before the cosine begins."""
    weight_decay: Annotated[float, Field(ge=0, le=1)] = 0.0
    betas: tuple[Share, Share] = (0.9, 0.99)
    clip_norm: Annotated[float, Field(gt=0)] = 1.0
    ema: Annotated[float, Field(ge=0, lt=1)] = 0.995


class Bookkeeping(_Section):
    """When to write, in steps."""

    log_every: PositiveInt = 20
    evaluate_every: PositiveInt = 200
    save_every: PositiveInt = 200


class VaeStage(_Section):
    """Autoencoder on single pictures: L1, L1 of the edges, L2 and a little KL."""

    kind: Literal["vae"] = "vae"
    block_channels: tuple[PositiveInt, ...] = (32, 32, 64, 64)
    latent_channels: PositiveInt = 4
    edge_weight: Annotated[float, Field(ge=0)] = 0.5
    kl_weight: Annotated[float, Field(ge=0)] = 3e-6


class ContrastiveStage(_Section):
    """CLIP text and vision towers, clips against captions (so that direction words count)."""

    kind: Literal["contrastive"] = "contrastive"
    width: PositiveInt = 128
    text_layers: PositiveInt = 3
    vision_layers: PositiveInt = 3
    heads: PositiveInt = 4
    patch_size: PositiveInt = 8
    embed_dim: PositiveInt = 128
    frames: tuple[Annotated[int, Field(ge=0)], ...] = (0, 7, 15)


class CaptionFactsStage(_Section):
    """Text tower alone: every token shall carry what the caption says."""

    kind: Literal["caption-facts"] = "caption-facts"
    towers: Path
    start: Path
    """Folder that holds the ``text_encoder`` to begin with."""


class DiffusionStage(_Section):
    """What text-to-video and image-to-video training have in common."""

    vae: Path
    towers: Path
    clips: PositiveInt = 6144
    """Procedural clips in the latent cache; captions are drawn anew each time."""
    probe_clips: PositiveInt = 24
    """Held-out clips on which the evaluation measures what the caption is worth."""
    image_share: Share = 0.0
    """Share of steps that train on single frames and skip the temporal layers."""
    image_batch: PositiveInt = 64
    placed_share: Share = 0.0
    """Share of picture steps whose captions say where the object is."""
    placed_pictures: PositiveInt = 4096
    stride: PositiveInt = 1
    """Take every stride-th frame; the fps label is the native one over the stride."""
    frames: PositiveInt = 16
    caption_dropout: Share = 0.1
    high_noise_share: Share = 0.5
    """Share of samples with a timestep from the upper 40 %, where the motion is decided."""
    top_noise_share: Share = 0.0
    """Share of samples from the upper 6 %, where only the caption can tell."""
    shared_noise: Share = 0.0
    """Share of the noise that all frames of a clip have in common (arXiv 2305.10474)."""
    temporal_rate: Annotated[float, Field(gt=0)] = 1.0
    """Learning rate of the temporal layers over the others'."""
    text_rate: Annotated[float, Field(ge=0)] = 0.3
    """Learning rate of the text tower over the others'; 0 freezes it, as the paper does."""


class TextToVideoStage(DiffusionStage):
    """The video UNet; ``start`` names the run of the stage before."""

    kind: Literal["text-to-video"] = "text-to-video"
    start: Path | None = None
    text: Path | None = None
    """Folder with another ``text_encoder`` than ``start`` has."""
    model_channels: PositiveInt = 64
    channel_mult: tuple[PositiveInt, ...] = (1, 2)
    num_res_blocks: PositiveInt = 1
    num_head_channels: PositiveInt = 16


class ImageToVideoStage(DiffusionStage):
    """The text-to-video model plus projection net and image keys and values.

    ``trains = "mapping"`` moves only these (stage 1 of the paper), ``"video"`` freezes the text
    and image mappings and tunes the rest (stage 2).
    """

    kind: Literal["image-to-video"] = "image-to-video"
    start: Path
    trains: Literal["mapping", "video"]
    image_dropout: Share = 0.1
    projection_dim: PositiveInt = 128
    projection_depth: PositiveInt = 2
    num_queries: PositiveInt = 16


Stage = Annotated[
    VaeStage | ContrastiveStage | CaptionFactsStage | TextToVideoStage | ImageToVideoStage,
    Field(discriminator="kind"),
]


class Recipe(_Section):
    """One training stage, complete."""

    name: Annotated[str, Field(pattern=r"^[a-z0-9-]+$")]
    seed: Annotated[int, Field(ge=0)] = 0
    optimisation: Optimisation
    bookkeeping: Bookkeeping = Bookkeeping()
    stage: Stage


def load_recipe(name_or_path: str) -> Recipe:
    """Read a recipe by the name of a shipped one or by path.

    Raises:
        RecipeError: no such recipe, broken TOML, an unknown key or a wrong value, by name.
    """
    path = Path(name_or_path)
    if path.suffix != ".toml":
        path = RECIPE_FOLDER / f"{name_or_path}.toml"
    try:
        raw = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        known = ", ".join(sorted(p.stem for p in RECIPE_FOLDER.glob("*.toml")))
        raise RecipeError(f"no recipe {name_or_path!r}; shipped recipes: {known}") from None
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise RecipeError(f"{path}: {error}") from error
    try:
        return Recipe.model_validate(raw)
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(str(part) for part in first["loc"])
        raise RecipeError(f"{path}: {key}: {first['msg']} (got {first['input']!r})") from error
