"""LoRA (arXiv 2106.09685) of the attention layers: low-rank updates of a model that stays frozen.

A recipe with a ``[lora]`` section trains its stage this way. The stage brings data, loss and
samples as ever; what is trained, saved in checkpoints, averaged and exported is the LoRA alone.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from peft import LoraConfig
from peft.utils import get_peft_model_state_dict
from torch import Tensor, nn

from common.atomic_write import atomic_folder
from engine.checkpoints import ModelLoadError
from engine.checkpoints.folder.lora import LORA_METADATA, LORA_WEIGHTS, LoraMetadata
from engine.checkpoints.folder.metadata import METADATA_FILE, read_metadata
from engine.checkpoints.folder.weights import WeightInspector
from engine.models import VideoUNet
from engine.models.attention import Attention
from engine.pipelines import TextToVideoPipeline
from training.loop.task import ParameterGroup, Samples, StepKind
from training.recipe.model import ImageToVideoStage, Recipe, RecipeError, TextToVideoStage
from training.recipe.sections import LoraSection, LoraTargets
from training.stages.batches import VideoBatch
from training.stages.components import Components
from training.stages.registry import task_class
from training.stages.stage_task import StageTask
from training.stages.video_task import VideoTask

TEMPORAL_LAYERS = (".temporal.", ".initial_temporal.")
_ADAPTER = "default"


def attention_layers(unet: VideoUNet, targets: LoraTargets) -> list[str]:
    """Names of the projections (queries, keys, values, those of the image, outputs) to update."""
    names = [
        f"{parent}.{name}"
        for parent, module in unet.named_modules()
        if isinstance(module, Attention)
        for name, layer in module.named_children()
        if isinstance(layer, nn.Linear)
    ]
    if targets == "attention":
        return names
    return [name for name in names if _is_temporal(name) == (targets == "temporal")]


class LoraTask(StageTask[VideoBatch]):
    """Another task, of which only a LoRA is trained.

    Args:
        inner: the task of the recipe's stage, new: none of its parameters has been given away.
        recipe: has a ``[lora]`` section.

    Raises:
        RecipeError: the stage trains no video model, or does not say on which model.
    """

    @classmethod
    def of(cls, recipe: Recipe, components: Components) -> Self:
        """Build the stage's task, and a LoRA around it."""
        return cls(task_class(recipe.stage.kind).of(recipe, components), recipe)

    def __init__(self, inner: StageTask[Any], recipe: Recipe) -> None:
        section, stage = recipe.lora, recipe.stage
        assert section is not None
        if not isinstance(stage, TextToVideoStage | ImageToVideoStage):
            raise RecipeError(f"lora: a stage of kind {stage.kind!r} has no UNet to update")
        if stage.start is None:
            raise RecipeError("lora: stage.start must name the model to update")
        if isinstance(stage, ImageToVideoStage) and stage.trains != "video":
            raise RecipeError('lora: needs stage.trains = "video"')
        assert isinstance(inner, VideoTask)
        self._facts = lora_facts(section, recipe.name, stage.start)
        self._inner, self._temporal_lr_scale = inner, stage.temporal_lr_scale
        self.model = inner.model
        unet = inner.model.unet
        assert isinstance(unet, VideoUNet)
        self.unet = unet
        self.model.requires_grad_(False)
        self.unet.add_adapter(
            LoraConfig(
                r=section.rank,
                # peft declares whole numbers, but takes any.
                lora_alpha=section.alpha or section.rank,  # type: ignore[arg-type]
                lora_dropout=section.dropout,
                target_modules=attention_layers(self.unet, section.targets),
            ),
            _ADAPTER,
        )
        _save_what_is_trained_only(self.model)

    def parameter_groups(self) -> list[ParameterGroup]:
        """The tensors of the LoRA; those of temporal layers at ``temporal_lr_scale``."""
        trained = [(n, p) for n, p in self.unet.named_parameters() if p.requires_grad]
        groups = [
            ParameterGroup([p for n, p in trained if not _is_temporal(n)]),
            ParameterGroup([p for n, p in trained if _is_temporal(n)], self._temporal_lr_scale),
        ]
        return [group for group in groups if group.parameters]

    def open(self) -> None:
        """Open the stage's data."""
        self._inner.open()

    def draw(self, rng: np.random.Generator, step: int) -> VideoBatch:
        """Draw from the stage's data."""
        return self._inner.draw(rng, step)

    def batch_loss(self, batch: VideoBatch, rng: np.random.Generator) -> Tensor:
        """Return the stage's loss."""
        return self._inner.batch_loss(batch, rng)

    def step_kinds(self) -> tuple[StepKind, ...]:
        """Return the stage's kinds of steps."""
        return self._inner.step_kinds()

    def example_batch(self, kind: str, count: int) -> VideoBatch:
        """Return the stage's example."""
        self._inner.device = self.device
        return self._inner.example_batch(kind, count)

    def evaluate(self) -> dict[str, float]:
        """Return the stage's figures of the current weights."""
        return self._inner.evaluate()

    def prepare(self, device: torch.device) -> None:
        """Set the device, and prepare the stage for it."""
        super().prepare(device)
        self._inner.prepare(device)

    def samples(self, count: int) -> Samples | None:
        """Return the stage's samples."""
        return self._inner.samples(count)

    def sample_size(self) -> str:
        """Describe one sample of a batch in the stage's words."""
        return self._inner.sample_size()

    def counts(self) -> dict[str, float]:
        """Return the stage's counts."""
        return self._inner.counts()

    def close(self) -> None:
        """Close the stage."""
        self._inner.close()

    def export(self, folder: Path) -> None:
        """Write the LoRA in the layout of diffusers' pipelines, and ``lora.json``."""
        settings: dict[str, Any] = self.unet.peft_config[_ADAPTER].to_dict()
        settings["target_modules"] = sorted(settings["target_modules"])
        TextToVideoPipeline.save_lora_weights(
            folder,
            unet_lora_layers=get_peft_model_state_dict(self.unet, adapter_name=_ADAPTER),
            weight_name=LORA_WEIGHTS,
            unet_lora_adapter_metadata=settings,
        )
        text = self._facts.model_dump_json(indent=2, exclude_none=True)
        (folder / LORA_METADATA).write_text(text + "\n", encoding="utf-8")


def lora_facts(section: LoraSection, name: str, start: Path) -> LoraMetadata:
    """Return the facts that a LoRA states about itself.

    Args:
        section: of the recipe.
        name: of the recipe, which is the title unless the section has one.
        start: folder of the model that it updates.

    Raises:
        RecipeError: neither the section nor the folder names that model.
    """
    base, licence, revision = section.base, section.licence, None
    try:
        if (start / METADATA_FILE).exists():
            facts = read_metadata(start)
            base, licence = base or facts.name, licence or facts.licence
            revision = WeightInspector().revision(start)
    except ModelLoadError as error:
        raise RecipeError(f"stage.start: {error}") from error
    if base is None:
        raise RecipeError(f"lora.base: name the model that {start} becomes when it is exported")
    if licence is None:
        raise RecipeError(f"lora.licence: {start} states none, so the LoRA must")
    return LoraMetadata(
        title=section.title or name,
        base=base,
        base_revision=revision,
        trigger_words=section.trigger_words,
        licence=licence,
    )


def export_lora(run_folder: Path, output: Path) -> None:
    """Copy the LoRA of a run, whole or not at all; what was there before is replaced.

    Raises:
        RecipeError: the run has made none yet, or the output holds something else.
    """
    source = run_folder / "model"
    if not (source / LORA_WEIGHTS).is_file():
        raise RecipeError(f"{source} does not exist; run the recipe first")
    if output.exists() and not (output / LORA_METADATA).exists() and any(output.iterdir()):
        raise RecipeError(f"{output} holds something else than a LoRA; choose another --output")
    with atomic_folder(output, unique=False) as partial:
        shutil.copytree(source, partial)
        card = output / "README.md"
        if card.exists():
            shutil.copy2(card, partial / card.name)


def _is_temporal(name: str) -> bool:
    return any(part in f".{name}" for part in TEMPORAL_LAYERS)


def _save_what_is_trained_only(model: nn.Module) -> None:
    """Leave the frozen tensors out of the model's state dict, and do not miss them in others."""
    trained = {name for name, parameter in model.named_parameters() if parameter.requires_grad}

    def keep_trained(_module: nn.Module, state: dict[str, Any], prefix: str, _meta: Any) -> None:
        for name in [n for n in state if n.removeprefix(prefix) not in trained]:
            del state[name]

    def miss_trained(_module: nn.Module, keys: Any) -> None:
        keys.missing_keys[:] = _present(keys.missing_keys, trained)

    model.register_state_dict_post_hook(keep_trained)
    model.register_load_state_dict_post_hook(miss_trained)


def _present(names: Iterable[str], among: set[str]) -> list[str]:
    return [name for name in names if name in among]
