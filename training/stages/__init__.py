"""The stages of training, each a :class:`training.loop.task.Task`."""

from __future__ import annotations

from typing import assert_never

from training.loop.task import Task
from training.recipe.model import (
    CaptionFactsStage,
    ContrastiveStage,
    ImageToVideoStage,
    Recipe,
    RecipeError,
    TextToVideoStage,
    VaeStage,
)


def make_task(recipe: Recipe) -> Task:
    """Build the task that a recipe describes.

    Raises:
        RecipeError: its sizes do not fit together.
        OSError: a part of an earlier stage is missing.
    """
    try:
        task = _task(recipe)
        if recipe.lora is None:
            return task
        from training.stages.lora import LoraTask

        return LoraTask(task, recipe)
    except RecipeError:
        raise
    except ValueError as error:
        raise RecipeError(f"recipe {recipe.name!r}: {error}") from error


def _task(recipe: Recipe) -> Task:
    plan = recipe.optimisation
    match recipe.stage:
        case VaeStage() as stage:
            from training.stages.vae import VaeTask

            return VaeTask(stage, plan)
        case ContrastiveStage() as stage:
            from training.stages.contrastive import ContrastiveTask

            return ContrastiveTask(stage, plan)
        case CaptionFactsStage() as stage:
            from training.stages.caption_facts import CaptionFactsTask

            return CaptionFactsTask(stage, plan)
        case TextToVideoStage() as stage:
            from training.stages.text_to_video import TextToVideoTask

            return TextToVideoTask(stage, plan, recipe.seed)
        case ImageToVideoStage() as stage:
            from training.stages.image_to_video import ImageToVideoTask

            return ImageToVideoTask(stage, plan, recipe.seed)
        case _ as unknown:
            assert_never(unknown)
