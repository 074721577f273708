"""Assemble a trained run into a model folder that the engine serves."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import torch
from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
from transformers import CLIPTextModel, CLIPTokenizer, CLIPVisionModel

from engine.models import ImageProjection, VideoUNet
from engine.pipelines import ImageToVideoPipeline, TextToVideoPipeline
from training.data.clips import CLIP_FRAMES
from training.data.world import CANVAS, FPS_LABELS
from training.recipe import ImageToVideoStage, Recipe, RecipeError, TextToVideoStage
from training.stages.diffusion import TEXT_LAYER, demo_scheduler

SOLVER = "dpm++2m"
DEFAULT_STEPS = 16
DEFAULT_GUIDANCE = 3.0


def export_model(recipe: Recipe, run_folder: Path, output: Path) -> None:
    """Write the last weights of a run, in half precision, as a diffusers folder.

    The folder is put in place whole: what was there before stays until the new one is complete.

    Args:
        recipe: of a text-to-video or image-to-video stage.
        run_folder: where ``python -m training run`` wrote that recipe's run.
        output: the model folder; its name becomes the model's name.

    Raises:
        RecipeError: the recipe's stage makes no video model, or a part of the run is missing.
    """
    stage = recipe.stage
    if not isinstance(stage, TextToVideoStage | ImageToVideoStage):
        raise RecipeError(f"recipe {recipe.name!r} trains no video model, but a {stage.kind}")
    weights = run_folder / "model"
    for part in (weights, stage.vae, stage.towers):
        if not part.is_dir():
            raise RecipeError(f"{part} does not exist; run the stages before first")
    parts: dict[str, Any] = {
        "vae": AutoencoderKL.from_pretrained(stage.vae),
        "text_encoder": CLIPTextModel.from_pretrained(weights / "text_encoder"),
        "tokenizer": CLIPTokenizer.from_pretrained(stage.towers / "tokenizer"),
        "unet": VideoUNet.from_pretrained(weights / "unet"),
        "scheduler": demo_scheduler(SOLVER),
        "text_layer": TEXT_LAYER,
        "shared_noise": stage.shared_noise,
    }
    pipeline: TextToVideoPipeline | ImageToVideoPipeline
    if isinstance(stage, ImageToVideoStage):
        pipeline = ImageToVideoPipeline(
            **parts,
            image_encoder=CLIPVisionModel.from_pretrained(stage.towers / "image_encoder"),
            image_projection=ImageProjection.from_pretrained(weights / "image_projection"),
        )
        task, title = "image-to-video", "Demo image-to-video (small shapes world)"
    else:
        pipeline = TextToVideoPipeline(**parts)
        task, title = "text-to-video", "Demo text-to-video (small shapes world)"
    partial = output.with_name(f".{output.name}.partial")  # hidden: no model to list
    shutil.rmtree(partial, ignore_errors=True)
    pipeline.to(torch.float16).save_pretrained(partial)
    facts = {
        "name": output.name,
        "title": title,
        "task": task,
        "width": CANVAS,
        "height": CANVAS,
        "num_frames": CLIP_FRAMES,
        "fps": list(FPS_LABELS),
        "default_fps": FPS_LABELS[0],
        "default_steps": DEFAULT_STEPS,
        "max_steps": 100,
        "default_guidance": DEFAULT_GUIDANCE,
        "max_guidance": 12.0,
        "scheduler": SOLVER,
        "licence": "Apache-2.0",
    }
    (partial / "floor33.json").write_text(json.dumps(facts, indent=2) + "\n", encoding="utf-8")
    card = output / "README.md"
    if card.exists():
        shutil.copy2(card, partial / card.name)
    shutil.rmtree(output, ignore_errors=True)
    partial.rename(output)
