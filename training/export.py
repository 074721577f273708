"""Assemble a trained run into a model folder that the engine serves."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any, Literal

import torch
from transformers import CLIPTextModel

from common.atomic_write import atomic_folder
from engine.checkpoints.folder.metadata import METADATA_FILE, ModelMetadata
from engine.models import ImageProjection, VideoUNet
from engine.pipelines import ImageToVideoPipeline, TextToVideoPipeline
from training.data.buckets import Buckets
from training.data.clips import CLIP_FRAMES
from training.data.synthetic import FPS_LABELS
from training.recipe.model import ImageToVideoStage, Recipe, RecipeError, TextToVideoStage
from training.recipe.sections import ModelCardConfig
from training.recipe.shapes import trained_on
from training.stages.components import Components
from training.stages.diffusion import make_stage_scheduler

SOLVER = "dpm++2m"
_DEMO = ModelCardConfig(
    title="Demo (small shapes world)",
    licence="Apache-2.0",
    fps=FPS_LABELS,
    default_fps=FPS_LABELS[0],
    steps=16,
    guidance=3.0,
)
_DEMO_TITLES = {
    "text-to-video": "Demo text-to-video (small shapes world)",
    "image-to-video": "Demo image-to-video (small shapes world)",
}
_DEMO_MAX_GUIDANCE = 12.0
_MAX_GUIDANCE = 20.0

Task = Literal["text-to-video", "image-to-video"]


def export_model(recipe: Recipe, run_folder: Path, output: Path) -> None:
    """Write the last weights of a run, in half precision, as a diffusers folder.

    The folder is put in place whole: what was there before stays until the new one is complete.

    Args:
        recipe: of a text-to-video or image-to-video stage.
        run_folder: where ``python -m training run`` wrote that recipe's run.
        output: the model folder; its name becomes the model's name.

    Raises:
        RecipeError: the recipe's stage makes no video model or says nothing of its licence, or a
            part of the run is missing.
    """
    if recipe.lora is not None:
        from training.stages.lora import export_lora

        export_lora(run_folder, output)
        return
    stage = recipe.stage
    if not isinstance(stage, TextToVideoStage | ImageToVideoStage):
        raise RecipeError(f"recipe {recipe.name!r} trains no video model, but a {stage.kind}")
    facts = _facts(recipe, stage, output.name)
    weights = run_folder / "model"
    for part in (weights, stage.vae, stage.towers):
        if not part.is_dir():
            raise RecipeError(f"{part} does not exist; run the stages before first")
    # A frozen text tower that is the towers' own was not written with the run.
    text = weights / "text_encoder"
    networks = Components()
    parts: dict[str, Any] = {
        "vae": networks.vae(stage),
        "text_encoder": CLIPTextModel.from_pretrained(
            text if text.is_dir() else stage.towers / "text_encoder", use_safetensors=True
        ),
        "tokenizer": networks.tokenizer(stage.towers),
        "unet": VideoUNet.from_pretrained(weights / "unet", use_safetensors=True),
        "scheduler": make_stage_scheduler(stage.schedule, SOLVER),
        "text_layer": stage.text_layer,
        "shared_noise": stage.shared_noise,
    }
    pipeline: TextToVideoPipeline | ImageToVideoPipeline
    if isinstance(stage, ImageToVideoStage):
        pipeline = ImageToVideoPipeline(
            **parts,
            image_encoder=networks.vision(stage),
            image_projection=ImageProjection.from_pretrained(
                weights / "image_projection", use_safetensors=True
            ),
        )
    else:
        pipeline = TextToVideoPipeline(**parts)
    with atomic_folder(output, unique=False) as partial:  # hidden: no model to list
        pipeline.to(torch.float16).save_pretrained(partial)
        text_of_facts = facts.model_dump_json(indent=2, exclude_unset=True)
        (partial / METADATA_FILE).write_text(text_of_facts + "\n", encoding="utf-8")
        card = output / "README.md"
        if card.exists():
            shutil.copy2(card, partial / card.name)


def _facts(recipe: Recipe, stage: TextToVideoStage | ImageToVideoStage, name: str) -> ModelMetadata:
    """The contents of ``floor33.json``."""
    told = recipe.publication
    if told is None and stage.data is not None:
        raise RecipeError(
            f"recipe {recipe.name!r}: a model of your own data needs [publication] with a title "
            "and the licence of its weights"
        )
    told = told or _DEMO.model_copy(update={"title": _DEMO_TITLES[stage.kind]})
    resolution, frames = trained_on(stage)
    if stage.data is None:
        frames = CLIP_FRAMES  # a demo stage may see a part of its clips only
    sizes: dict[str, Any] = {}
    if resolution.buckets:
        native = (resolution.width, resolution.height)
        trained = [(size.width, size.height) for size in Buckets(resolution).sizes]
        sizes["sizes"] = tuple(size for size in trained if size != native)
    try:
        return ModelMetadata(
            name=name,
            title=told.title,
            task=stage.kind,
            width=resolution.width,
            height=resolution.height,
            **sizes,
            num_frames=frames,
            fps=told.fps,
            default_fps=told.default_fps,
            default_steps=told.steps,
            max_steps=100,
            default_guidance=told.guidance,
            max_guidance=_DEMO_MAX_GUIDANCE if stage.data is None else _MAX_GUIDANCE,
            scheduler=SOLVER,
            licence=told.licence,
        )
    except ValueError as error:
        raise RecipeError(f"--output: {name!r} cannot name a model: {error}") from error
