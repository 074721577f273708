"""The networks of a stage without weights, also where the stages before were not run yet."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, TypeVar

import torch
from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
from torch import nn
from transformers import CLIPTextModel, CLIPTokenizer, CLIPVisionModel

from engine.checkpoints.original.autoencoder import autoencoder
from engine.checkpoints.original.clip import text_tower, vision_tower
from engine.checkpoints.original.config import VisionTowerConfig
from engine.checkpoints.original.presets import PRESETS
from engine.models import VideoUNet
from training.data.captions import every_word
from training.recipe.model import DiffusionStage, Recipe, RecipeError, load_recipe
from training.stages import build_task
from training.stages.components import Components
from training.stages.stage_task import StageTask
from training.stages.tokenizer import make_tokenizer

ModuleT = TypeVar("ModuleT", bound=nn.Module)


class MetaComponents(Components):
    """Networks on torch's meta device: by the configuration in their folder.

    Where there is no folder, the network is the one that the shipped recipe of that name would
    make, or else, of towers and autoencoder, the released models'.
    """

    def __init__(self) -> None:
        self._tasks: dict[str, StageTask[Any]] = {}

    def build(self, recipe: Recipe) -> StageTask[Any]:
        """Build the task of a recipe without weights and without data.

        Raises:
            RecipeError: its sizes do not fit together, or a stage before is neither run nor
                shipped.
        """
        with torch.device("meta"):
            task = build_task(recipe, self)
        task.device = torch.device("meta")
        return task

    def load(self, kind: type[ModuleT], folder: Path, key: str) -> ModuleT:
        """Build a network from its configuration.

        Raises:
            RecipeError: the folder is not there, and no shipped recipe would make it.
        """
        config = _config(folder / "config.json")
        if config is None:
            return self._unrun(kind, folder)
        built: Any = kind
        if hasattr(kind, "from_config"):
            made: ModuleT = built.from_config(config)
        else:
            made = built(built.config_class.from_dict(config))
        return made

    def exists(self, folder: Path) -> bool:
        """Return whether a network's folder is there, or would be after the stage before."""
        if folder.is_dir():
            return True
        try:
            return folder.name in self._task_of(folder.parent).components()
        except RecipeError:
            return False

    def initialise(self, unet: VideoUNet, source: str) -> None:
        """There are no weights to give."""

    def tokenizer(self, towers: Path) -> CLIPTokenizer:
        """Take the tokenizer of the folder, else the demo's: any gives rows of 77 tokens."""
        if (towers / "tokenizer").is_dir():
            return super().tokenizer(towers)
        return make_tokenizer(every_word())

    def model_folder(self, start: Path) -> Path:
        """The folder that holds ``unet``, or will.

        Raises:
            RecipeError: it is not there, and no shipped recipe would make it.
        """
        if not start.is_dir():
            self._task_of(start)  # says who would make it
            return start
        return super().model_folder(start)

    def keep_frozen_text(self, stage: DiffusionStage, folder: Path) -> None:
        """There is nothing to hand on."""

    def vae_config(self, stage: DiffusionStage) -> dict[str, Any]:
        """The configuration of the autoencoder."""
        return dict(self.vae(stage).config)

    def _task_of(self, folder: Path) -> StageTask[Any]:
        """The task of the shipped recipe whose run writes into a folder that is not there yet."""
        name = folder.parent.name if folder.name == "model" else folder.name
        if name not in self._tasks:
            try:
                recipe = load_recipe(name)
            except RecipeError:
                raise RecipeError(
                    f"{folder} does not exist, and no shipped recipe is called {name!r}; "
                    "run the stage before first"
                ) from None
            self._tasks[name] = self.build(recipe)
        return self._tasks[name]

    def _unrun(self, kind: type[ModuleT], folder: Path) -> ModuleT:
        # A whole model's folder is that of its run; a component's lies in it.
        for run, name in ((folder, "."), (folder.parent, folder.name)):
            try:
                made = self._task_of(run).components().get(name)
            except RecipeError:
                continue
            if isinstance(made, kind):
                return made
        if kind not in _RELEASED:
            self._task_of(folder.parent)
            raise RecipeError(f"{folder.parent}: the stage makes no {folder.name}")
        released: ModuleT = _RELEASED[kind]()
        return released


def _config(path: Path) -> dict[str, Any] | None:
    try:
        config: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise RecipeError(f"{path}: {error}") from error
    return config


def _released_autoencoder() -> nn.Module:
    config = PRESETS["t2v-512"].config
    return autoencoder(config.first_stage_config, config.scale_factor).module


def _released_text_tower() -> nn.Module:
    return text_tower(PRESETS["t2v-512"].config.cond_stage_config).module


def _released_vision_tower() -> nn.Module:
    text = PRESETS["t2v-512"].config.cond_stage_config
    return vision_tower(VisionTowerConfig(), text.embed_dim, None).module


_RELEASED: dict[type[nn.Module], Any] = {
    AutoencoderKL: _released_autoencoder,
    CLIPTextModel: _released_text_tower,
    CLIPVisionModel: _released_vision_tower,
}
