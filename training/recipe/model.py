"""Training recipes: validated TOML files, one a stage."""

from __future__ import annotations

import logging
import re
from importlib import import_module
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import (
    Discriminator,
    Field,
    SerializeAsAny,
    Tag,
    ValidationError,
    ValidatorFunctionWrapHandler,
    WrapValidator,
    model_validator,
)

from common.toml_file import TomlFileError, read_toml
from common.validation import first_fault
from training.errors import TrainingError
from training.recipe.sections import (
    LatentData,
    LoraSection,
    ModelCardConfig,
    PositiveInt,
    RecipeSection,
    ScheduleConfig,
    Share,
    StageData,
    SyntheticDataConfig,
)

RECIPE_FOLDER = Path(__file__).parent.parent / "recipes"
RENAMED_KEYS = {"text_rate": "text_lr_scale", "temporal_rate": "temporal_lr_scale"}
"""Keys of ``[stage]`` by their earlier names, which work for one more release."""

logger = logging.getLogger(__name__)

Precision = Literal["fp32", "bf16"]
Decay = Annotated[float, Field(ge=0.0, lt=1.0)]
TextLayer = Literal["last", "penultimate"]


class RecipeError(TrainingError, ValueError):
    """A recipe that cannot be read or holds a wrong value; the text names the key."""


class Optimisation(RecipeSection):
    """The optimisation: AdamW, at a rate of a warm-up of some steps, a constant part, a cosine.

    ``batch_size`` is that of all processes and passes together.
    """

    steps: PositiveInt
    batch_size: PositiveInt
    accumulate: PositiveInt = 1
    """Passes of a step: each takes its part of the batch, the gradients are added up."""
    precision: Precision = "fp32"
    """bf16 computes in bfloat16 (autocast); weights, average and optimiser stay in float32."""
    gradient_checkpointing: bool = False
    """Compute activations again in the backward pass: about a third more time, far less memory."""
    learning_rate: Annotated[float, Field(gt=0, le=1)]
    warmup: Annotated[int, Field(ge=0)] = 100
    constant_share: Share = 0.3
    """Share of the steps at the full rate, before the cosine begins."""
    weight_decay: Annotated[float, Field(ge=0, le=1)] = 0.0
    betas: tuple[Decay, Decay] = (0.9, 0.99)
    clip_norm: Annotated[float, Field(gt=0)] = 1.0
    ema: Decay = 0.995
    ema_device: Literal["model", "cpu"] = "model"
    """Device of the average; "cpu" saves the accelerator's memory."""


class LoggingConfig(RecipeSection):
    """The intervals of writing, in steps, and what to keep. Other values train the same weights."""

    log_every: PositiveInt = 20
    evaluate_every: PositiveInt = 200
    save_every: PositiveInt = 200
    keep: PositiveInt = 2
    """Number of the newest checkpoints that stay."""
    keep_every: PositiveInt | None = None
    """Checkpoints whose step this divides stay for good."""
    samples: Annotated[int, Field(ge=0, le=64)] = 4
    """Rows of the picture grid that each evaluation draws, from fixed prompts and seeds."""


class StageSection(RecipeSection):
    """The keys of ``[stage]``; ``kind`` says of which stage."""

    kind: str


class VaeStage(StageSection):
    """Autoencoder on single pictures: L1, L1 of the edges, L2 and a little KL."""

    kind: Literal["vae"] = "vae"
    block_channels: tuple[PositiveInt, ...] = (32, 32, 64, 64)
    latent_channels: PositiveInt = 4
    edge_weight: Annotated[float, Field(ge=0)] = 0.5
    kl_weight: Annotated[float, Field(ge=0)] = 3e-6


class ContrastiveStage(StageSection):
    """CLIP text and vision towers, clips against captions (so that direction words count)."""

    kind: Literal["contrastive"] = "contrastive"
    width: PositiveInt = 128
    text_layers: PositiveInt = 3
    vision_layers: PositiveInt = 3
    heads: PositiveInt = 4
    patch_size: PositiveInt = 8
    embed_dim: PositiveInt = 128
    frames: tuple[Annotated[int, Field(ge=0)], ...] = (0, 7, 15)


class CaptionFactsStage(StageSection):
    """Text tower alone: every token shall carry what the caption says."""

    kind: Literal["caption-facts"] = "caption-facts"
    towers: Path
    start: Path
    """Folder that holds the ``text_encoder`` to begin with."""


class DiffusionStage(SyntheticDataConfig, StageSection):
    """The settings that text-to-video and image-to-video training have in common.

    Without ``data`` a stage trains on the procedural world, whose keys stand beside these.
    """

    vae: Path
    """Folder of the autoencoder, which is frozen."""
    towers: Path
    """Folder with ``tokenizer``, ``text_encoder`` and, for image-to-video, ``image_encoder``."""
    text_layer: TextLayer = "penultimate"
    """Features the UNet reads. "last" where the folder's tower was cut after its last-but-one
    block, as in Stable Diffusion 2.x: the same features then."""
    data: StageData | None = None
    schedule: ScheduleConfig = ScheduleConfig()
    probe_clips: PositiveInt = 24
    """Held-out clips on which the evaluation measures what the caption is worth."""
    caption_dropout: Share = 0.1
    """Share of captions that are replaced by the empty one."""
    high_noise_share: Share = 0.5
    """Share of samples with a timestep from the upper 40 %, where the motion is decided."""
    top_noise_share: Share = 0.0
    """Share of samples from the upper 6 %, where only the caption can tell."""
    shared_noise: Share = 0.0
    """Share of the noise that all frames of a clip have in common (arXiv 2305.10474)."""
    min_snr_gamma: Annotated[float, Field(gt=0)] | None = None
    """Cap of the weight of low noise levels (arXiv 2303.09556); None, as in the paper, for none."""
    temporal_lr_scale: Annotated[float, Field(gt=0)] = 1.0
    """Learning rate of the temporal layers over the others'."""
    text_lr_scale: Annotated[float, Field(ge=0)] = 0.3
    """Learning rate of the text tower over the others'; 0 freezes it, as the paper does."""

    @model_validator(mode="before")
    @classmethod
    def _take_old_names(cls, raw: Any) -> Any:
        if not isinstance(raw, dict):
            return raw
        for old, new in RENAMED_KEYS.items():
            if old in raw and new in raw:
                raise ValueError(f"{old} is the earlier name of {new}; give one of them")
        return {RENAMED_KEYS.get(key, key): value for key, value in raw.items()}

    @model_validator(mode="after")
    def _one_kind_of_data(self) -> Self:
        misplaced = sorted(SyntheticDataConfig.model_fields.keys() & self.model_fields_set)
        if self.data is not None and misplaced:
            raise ValueError(
                f"{misplaced[0]} belongs to the procedural world and has no meaning beside "
                "[stage.data]; see picture_share, picture_batch and window there"
            )
        return self

    @model_validator(mode="after")
    def _both_motions_or_none(self) -> Self:
        if (self.shows is None) != (self.says is None):
            raise ValueError("shows and says belong together")
        return self


class TextToVideoStage(DiffusionStage):
    """The video UNet; ``start`` names the run of the stage before.

    Without ``start`` the network is new: of a published size, or of the sizes below.
    """

    kind: Literal["text-to-video"] = "text-to-video"
    start: Path | None = None
    """Folder of a run, of its ``model``, or of a model that the engine serves."""
    text: Path | None = None
    """Folder with another ``text_encoder`` than ``start`` has."""
    architecture: Literal["t2v-1024", "t2v-512", "t2v-512-v2"] | None = None
    """Sizes and switches of a published model; see ``engine.models.unet``."""
    initialise: Annotated[str, Field(min_length=1)] | None = None
    """Spatial layers of a new network: a folder of Stable Diffusion 2.x in diffusers' layout, or
    ``hub:OWNER/NAME``. None: random ones."""
    model_channels: PositiveInt = 64
    channel_mult: tuple[PositiveInt, ...] = (1, 2)
    num_res_blocks: PositiveInt = 1
    num_head_channels: PositiveInt = 16

    @model_validator(mode="after")
    def _sizes_are_said_once(self) -> Self:
        sizes = {"model_channels", "channel_mult", "num_res_blocks", "num_head_channels"}
        if self.architecture is not None and (given := sorted(sizes & self.model_fields_set)):
            raise ValueError(f"{given[0]}: the architecture {self.architecture} has its own")
        if self.start is not None:
            for key in ("architecture", "initialise"):
                if getattr(self, key) is not None:
                    raise ValueError(f"{key}: for new networks; this one begins as start is")
        return self


class ImageToVideoStage(DiffusionStage):
    """The text-to-video model plus projection net and image keys and values.

    ``trains = "mapping"`` moves only these (stage 1 of the paper), ``"video"`` freezes the text
    and image mappings and tunes the rest (stage 2).
    """

    kind: Literal["image-to-video"] = "image-to-video"
    start: Path
    """Folder of a run, of its ``model``, or of a model that the engine serves."""
    trains: Literal["mapping", "video"]
    vision: Path | None = None
    """Folder of a CLIP vision model (default: ``image_encoder`` in ``towers``)."""
    condition_frame: Literal["first", "random"] = "first"
    """The frame of a clip that is its condition; a picture is always its own."""
    image_dropout: Share = 0.1
    """Share of conditions that are replaced by mid grey, sent through tower and projection."""
    both_dropout: Share | None = None
    """Share that loses caption and picture. With a value the three shares exclude each other;
    None draws caption and picture independently, so that both are lost by chance."""
    projection_dim: PositiveInt = 128
    projection_depth: PositiveInt = 2
    projection_head_dim: PositiveInt = 32
    projection_heads: PositiveInt | None = None
    """Heads of the projection net (default: ``projection_dim / projection_head_dim``)."""
    num_queries: PositiveInt = 16

    @model_validator(mode="after")
    def _shares_add_up(self) -> Self:
        total = self.caption_dropout + self.image_dropout + (self.both_dropout or 0.0)
        if self.both_dropout is not None and total > 1:
            raise ValueError(f"caption_dropout, image_dropout and both_dropout add up to {total}")
        return self

    @model_validator(mode="after")
    def _pixels_for_the_vision_tower(self) -> Self:
        if isinstance(self.data, LatentData):
            raise ValueError('data.kind = "latents" holds no pixels for the vision tower')
        return self


def _other_stage(value: object, _own: ValidatorFunctionWrapHandler) -> StageSection:
    """Validate the section of a stage that is known by its file in ``training.stages`` alone."""
    if isinstance(value, StageSection):
        return value
    kind = _kind_of(value)
    # By name and when it is needed: a stage's file stands above the recipes, and loads torch.
    registry = import_module("training.stages.registry")
    try:
        section: type[StageSection] = registry.task_class(kind).section
    except KeyError:
        raise ValueError(f"no stage is of the kind {kind!r}") from None
    try:
        return section.model_validate(value)
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(str(part) for part in first["loc"])
        raise ValueError(f"{key}: {first['msg']} (got {first['input']!r})") from error


def _kind_of(value: object) -> str:
    kind = value.get("kind") if isinstance(value, dict) else getattr(value, "kind", None)
    return kind if isinstance(kind, str) and re.fullmatch(r"[a-z0-9-]+", kind) else ""


def _tag_of(value: object) -> str:
    kind = _kind_of(value)
    return kind if kind in _BUILT_IN else "other"


_BUILT_IN = ("vae", "contrastive", "caption-facts", "text-to-video", "image-to-video")

Stage = Annotated[
    Annotated[VaeStage, Tag("vae")]
    | Annotated[ContrastiveStage, Tag("contrastive")]
    | Annotated[CaptionFactsStage, Tag("caption-facts")]
    | Annotated[TextToVideoStage, Tag("text-to-video")]
    | Annotated[ImageToVideoStage, Tag("image-to-video")]
    | Annotated[SerializeAsAny[StageSection], WrapValidator(_other_stage), Tag("other")],
    Discriminator(_tag_of),
]


class Recipe(RecipeSection):
    """One training stage, complete."""

    name: Annotated[str, Field(pattern=r"^[a-z0-9-]+$")]
    seed: Annotated[int, Field(ge=0)] = 0
    optimisation: Optimisation
    bookkeeping: LoggingConfig = LoggingConfig()
    publication: ModelCardConfig | None = None
    """Of a video model on data of one's own; the demo's is known."""
    lora: LoraSection | None = None
    """Train a LoRA of the stage's model instead of the model."""
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
        raw = read_toml(path)
    except FileNotFoundError:
        known = ", ".join(sorted(p.stem for p in RECIPE_FOLDER.glob("*.toml")))
        raise RecipeError(f"no recipe {name_or_path!r}; shipped recipes: {known}") from None
    except (OSError, TomlFileError) as error:
        raise RecipeError(f"{path}: {error}") from error
    try:
        recipe = Recipe.model_validate(raw)
    except ValidationError as error:
        raise RecipeError(f"{path}: {first_fault(error).with_value()}") from error
    for old in sorted(RENAMED_KEYS.keys() & raw["stage"].keys()):
        logger.warning("%s: stage.%s is called %s now", path, old, RENAMED_KEYS[old])
    return recipe
