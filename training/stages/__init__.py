"""The stages of training, each a :class:`training.loop.Task`."""

from __future__ import annotations

from typing import assert_never

from training.loop import Task
from training.recipe import (
    CaptionFactsStage,
    ContrastiveStage,
    ImageToVideoStage,
    Recipe,
    TextToVideoStage,
    VaeStage,
)


def make_task(recipe: Recipe) -> Task:
    """Build the task that a recipe describes."""
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

            return TextToVideoTask(stage, plan)
        case ImageToVideoStage() as stage:
            from training.stages.image_to_video import ImageToVideoTask

            return ImageToVideoTask(stage, plan)
        case _ as unknown:
            assert_never(unknown)
