"""The networks of a recipe without weights, on torch's meta device, before any stage was run."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, NamedTuple

import torch
from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
from peft import LoraConfig
from transformers import CLIPTextConfig, CLIPTextModel

from engine.checkpoints.original.presets import PRESETS
from engine.models import ImageProjection, VideoUNet
from engine.models.original_names import unet_config_from_original
from training.data.captions import every_word
from training.data.clips import CLIP_FRAMES
from training.data.world import CANVAS
from training.recipe.model import (
    ContrastiveStage,
    DiffusionStage,
    ImageToVideoStage,
    RecipeError,
    Stage,
    TextToVideoStage,
    VaeStage,
    load_recipe,
)
from training.recipe.sections import LoraSection
from training.stages.tokenizer import make_tokenizer

# The autoencoder and the vision tower of the released models, where a folder is not there yet.
_RELEASED_AUTOENCODER = {"block_out_channels": (128, 256, 512, 512), "layers_per_block": 2}


class VisionFacts(NamedTuple):
    """Tokens of a picture, and their width."""

    tokens: int
    width: int


_RELEASED_VISION = VisionFacts(257, 1280)


def autoencoder(stage: VaeStage) -> AutoencoderKL:
    """Build the network that an autoencoder stage trains."""
    return _autoencoder(
        block_out_channels=stage.block_channels,
        layers_per_block=1,
        latent_channels=stage.latent_channels,
        norm_num_groups=16,
    )


def frozen_autoencoder(stage: DiffusionStage) -> AutoencoderKL:
    """The autoencoder in the stage's folder, else that of the released models."""
    config = _config(stage.vae / "config.json")
    if config is not None:
        with torch.device("meta"):
            made: AutoencoderKL = AutoencoderKL.from_config(config)
            return made
    return _autoencoder(**_RELEASED_AUTOENCODER)


def towers(stage: ContrastiveStage) -> Any:
    """Build the :class:`training.stages.contrastive.Towers` that a contrastive stage trains."""
    from training.stages.contrastive import Towers

    tokenizer = make_tokenizer(every_word())
    with torch.device("meta"):
        return Towers(stage, len(tokenizer), tokenizer.eos_token_id)


def text_tower(folder: Path) -> CLIPTextModel:
    """The text tower in the folder of a stage.

    Raises:
        RecipeError: the folder is not there, and no shipped recipe would make it.
    """
    if (folder / "text_encoder" / "config.json").exists():
        config = CLIPTextConfig.from_pretrained(folder / "text_encoder")
        with torch.device("meta"):
            return CLIPTextModel(config)
    stage = _stage_of(folder)
    if isinstance(stage, ContrastiveStage):
        made: CLIPTextModel = towers(stage).text
        return made
    before = next(
        (f for key in ("text", "start", "towers") if (f := getattr(stage, key, None))), None
    )
    if before is None:
        raise RecipeError(f"{folder}: a {stage.kind} stage has no text tower")
    return text_tower(before)


def unet(stage: Stage) -> VideoUNet:
    """The UNet that a stage trains.

    Raises:
        RecipeError: ``start`` is not there, and no shipped recipe would make it.
    """
    config = _unet_config(stage)
    if isinstance(stage, ImageToVideoStage):
        config["image_cross_attention"] = True
    with torch.device("meta"):
        made: VideoUNet = VideoUNet.from_config(config)
        return made


def vision_facts(stage: ImageToVideoStage) -> VisionFacts:
    """Return the output size of a stage's vision tower; the released models' if it is not there."""
    for folder in (stage.vision, stage.towers / "image_encoder"):
        config = None if folder is None else _config(folder / "config.json")
        if config is not None:
            return VisionFacts(
                1 + (config["image_size"] // config["patch_size"]) ** 2, config["hidden_size"]
            )
    try:
        made = _stage_of(stage.towers)
    except RecipeError:
        return _RELEASED_VISION
    if not isinstance(made, ContrastiveStage):
        return _RELEASED_VISION
    return VisionFacts(1 + (CANVAS // made.patch_size) ** 2, made.width)


def projection(stage: ImageToVideoStage, vision_width: int, output: int) -> ImageProjection:
    """The projection net of an image-to-video stage."""
    with torch.device("meta"):
        made: ImageProjection = ImageProjection(
            dim=stage.projection_dim,
            depth=stage.projection_depth,
            dim_head=stage.projection_head_dim,
            heads=stage.projection_heads
            or max(1, stage.projection_dim // stage.projection_head_dim),
            num_queries=stage.num_queries,
            embedding_dim=vision_width,
            output_dim=output,
        )
    return made


def add_lora(network: VideoUNet, section: LoraSection) -> None:
    """Add a LoRA to a frozen UNet; it alone is trained then."""
    from training.stages.lora import attention_layers

    with torch.device("meta"):
        network.add_adapter(
            LoraConfig(r=section.rank, target_modules=attention_layers(network, section.targets))
        )


def _autoencoder(**config: Any) -> AutoencoderKL:
    levels = len(config["block_out_channels"])
    with torch.device("meta"):
        made: AutoencoderKL = AutoencoderKL(
            down_block_types=("DownEncoderBlock2D",) * levels,
            up_block_types=("UpDecoderBlock2D",) * levels,
            **config,
        )
    return made


def _unet_config(stage: Stage) -> dict[str, Any]:
    if not isinstance(stage, TextToVideoStage | ImageToVideoStage):
        raise RecipeError(f"stage.start: a {stage.kind} stage has no UNet")
    if stage.start is not None:
        for folder in (stage.start, stage.start / "model"):
            config = _config(folder / "unet" / "config.json")
            if config is not None:
                return config
        return _unet_config(_stage_of(stage.start))
    if stage.architecture is not None:
        return unet_config_from_original(PRESETS[stage.architecture].config.unet_config)
    return {
        "model_channels": stage.model_channels,
        "channel_mult": stage.channel_mult,
        "num_res_blocks": stage.num_res_blocks,
        "attention_resolutions": tuple(2**i for i in range(len(stage.channel_mult))),
        "num_head_channels": stage.num_head_channels,
        "context_dim": text_tower(stage.towers).config.hidden_size,
        "temporal_length": CLIP_FRAMES,
    }


def _config(path: Path) -> dict[str, Any] | None:
    try:
        config: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise RecipeError(f"{path}: {error}") from error
    return config


def _stage_of(folder: Path) -> Stage:
    """The stage of the shipped recipe whose run writes into a folder that is not there yet."""
    name = folder.parent.name if folder.name == "model" else folder.name
    try:
        return load_recipe(name).stage
    except RecipeError:
        raise RecipeError(
            f"{folder} does not exist, and no shipped recipe is called {name!r}; "
            "run the stage before first"
        ) from None
