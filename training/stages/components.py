"""The networks that a stage begins with: from folders, published sizes or an image model."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any, TypeVar

import torch
from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
from torch import nn
from transformers import CLIPTextModel, CLIPTokenizer, CLIPVisionModel

from engine.checkpoints.original.presets import PRESETS
from engine.models import ImageProjection, VideoUNet
from engine.models.original_names import unet_config_from_original
from training.data.clips import CLIP_FRAMES
from training.recipe.model import (
    DiffusionStage,
    ImageToVideoStage,
    Optimisation,
    RecipeError,
    TextToVideoStage,
)
from training.recipe.sections import MediaData
from training.stages.initialise import initialise_from_image_model, read_image_unet

ModuleT = TypeVar("ModuleT", bound=nn.Module)


def frozen_dtype(plan: Optimisation) -> torch.dtype:
    """Number format of what is not trained; what is trained stays in float32."""
    return torch.bfloat16 if plan.precision == "bf16" else torch.float32


def frozen(module: ModuleT, dtype: torch.dtype) -> ModuleT:
    """A network for use only."""
    nn.Module.to(module.eval().requires_grad_(False), dtype)  # not diffusers', which may warn
    return module


class Components:
    """Networks with their weights, all in float32.

    `training.planning` has one that builds the same networks without weights, from their
    configurations, also where the stage before was not run yet.
    """

    def load(self, kind: type[ModuleT], folder: Path, key: str) -> ModuleT:
        """Load a network of which every tensor comes from its files.

        Args:
            kind: diffusers' or transformers' class of it.
            folder: with its configuration and weights.
            key: of the stage's section that names the folder.

        Raises:
            RecipeError: tensors are missing, which would be random, silently.
        """
        load: Any = kind.from_pretrained  # type: ignore[attr-defined]
        module: ModuleT
        module, report = load(folder, output_loading_info=True, use_safetensors=True)
        if lacking := sorted(map(str, {*report["missing_keys"], *report["mismatched_keys"]})):
            raise RecipeError(
                f"stage.{key}: the weights in {folder} lack {len(lacking)} tensors, as {lacking[0]}"
            )
        nn.Module.float(module)
        return module

    def exists(self, folder: Path) -> bool:
        """Return whether a network's folder is there."""
        return folder.is_dir()

    def initialise(self, unet: VideoUNet, source: str) -> None:
        """Give a new UNet the spatial layers of an image model."""
        initialise_from_image_model(unet, read_image_unet(source))

    def tokenizer(self, towers: Path) -> CLIPTokenizer:
        """The tokenizer of a text tower."""
        tokenizer: CLIPTokenizer = CLIPTokenizer.from_pretrained(towers / "tokenizer")
        return tokenizer

    def vae(self, stage: DiffusionStage) -> AutoencoderKL:
        """The autoencoder."""
        vae: AutoencoderKL = self.load(AutoencoderKL, stage.vae, "vae")
        return vae

    def model_folder(self, start: Path) -> Path:
        """The folder that holds ``unet``: a model's own, or ``model`` in a run's.

        Raises:
            RecipeError: there is none.
        """
        for folder in (start, start / "model"):
            if self.exists(folder / "unet"):
                return folder
        raise RecipeError(f"stage.start: {start} holds no unet, nor does {start / 'model'}")

    def text_folder(self, stage: DiffusionStage) -> Path:
        """The text tower to begin with: that of ``text``, else of ``start``, else of the towers.

        A run with a frozen tower has none of its own.
        """
        folders = [stage.towers]
        start: Path | None = getattr(stage, "start", None)
        if start is not None:
            folders.insert(0, self.model_folder(start))
        text: Path | None = getattr(stage, "text", None)
        if text is not None:
            folders.insert(0, text)
        named = [folder / "text_encoder" for folder in folders]
        return next((folder for folder in named if self.exists(folder)), named[-1])

    def text_encoder(self, stage: DiffusionStage) -> CLIPTextModel:
        """The text tower."""
        return self.load(CLIPTextModel, self.text_folder(stage), "towers")

    def keep_frozen_text(self, stage: DiffusionStage, folder: Path) -> None:
        """Hand a frozen text tower on with a run's model, unless the towers' folder has it."""
        source = self.text_folder(stage)
        if source != stage.towers / "text_encoder":
            shutil.copytree(source, folder / "text_encoder")

    def vision(self, stage: ImageToVideoStage) -> CLIPVisionModel:
        """The vision tower: of the stage's own folder, or of the towers'."""
        folder = stage.vision or stage.towers
        named = folder / "image_encoder"
        whole_clip = stage.vision is not None and not self.exists(named)
        return self.load(CLIPVisionModel, folder if whole_clip else named, "vision")

    def unet(self, start: Path) -> VideoUNet:
        """The UNet of a run or a model.

        Raises:
            RecipeError: there is none.
        """
        unet: VideoUNet = self.load(VideoUNet, self.model_folder(start) / "unet", "start")
        return unet

    def projection(self, start: Path) -> ImageProjection | None:
        """The projection net of a run or a model; None of a text-to-video one."""
        folder = self.model_folder(start) / "image_projection"
        if not self.exists(folder):
            return None
        projection: ImageProjection = self.load(ImageProjection, folder, "start")
        return projection

    def text_to_video_unet(self, stage: TextToVideoStage, context_dim: int) -> VideoUNet:
        """The UNet that a text-to-video stage begins with.

        Args:
            stage: of the recipe.
            context_dim: width of the text tower.

        Raises:
            RecipeError: ``start`` or ``initialise`` do not fit.
        """
        if stage.start is not None:
            begun = self.unet(stage.start)
            _check_context(begun, context_dim)
            return begun
        config: dict[str, Any]
        if stage.architecture is not None:
            config = unet_config_from_original(PRESETS[stage.architecture].config.unet_config)
        else:
            config = {
                "model_channels": stage.model_channels,
                "channel_mult": stage.channel_mult,
                "num_res_blocks": stage.num_res_blocks,
                "attention_resolutions": tuple(2**i for i in range(len(stage.channel_mult))),
                "num_head_channels": stage.num_head_channels,
                "context_dim": context_dim,
                "temporal_length": CLIP_FRAMES,
            }
        unet: VideoUNet = VideoUNet(**config)
        _check_context(unet, context_dim)
        if stage.initialise is not None:
            self.initialise(unet, stage.initialise)
        return unet

    def check_sizes(self, stage: DiffusionStage, unet: VideoUNet) -> None:
        """Refuse sizes in pixels that autoencoder and UNet cannot halve often enough.

        Raises:
            RecipeError: names the key.
        """
        if not isinstance(stage.data, MediaData):
            return
        levels = self.vae_config(stage)["block_out_channels"]
        divisor = unet.spatial_factor * 2 ** (len(levels) - 1)
        resolution = stage.data.resolution
        wanted = {"width": resolution.width, "height": resolution.height}
        if resolution.buckets:
            wanted["multiple"] = resolution.multiple
        for key, value in wanted.items():
            if value % divisor:
                raise RecipeError(
                    f"stage.data.resolution.{key}: a multiple of {divisor} for this model, "
                    f"not {value}"
                )

    def vae_config(self, stage: DiffusionStage) -> dict[str, Any]:
        """The configuration of the autoencoder."""
        config: dict[str, Any] = AutoencoderKL.load_config(stage.vae)
        return config


def _check_context(unet: VideoUNet, context_dim: int) -> None:
    if unet.config["context_dim"] != context_dim:
        raise RecipeError(
            f"stage.towers: the text tower is {context_dim} wide, the UNet reads "
            f"{unet.config['context_dim']}"
        )
