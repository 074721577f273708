"""The stages of training, one file each, named like the ``kind`` in a recipe's ``[stage]``."""

from __future__ import annotations

from typing import Any

from training.recipe.model import Recipe, RecipeError
from training.stages.components import Components
from training.stages.registry import task_class
from training.stages.stage_task import StageTask


def make_task(recipe: Recipe) -> StageTask[Any]:
    """Build the task that a recipe describes, and open its data.

    Raises:
        RecipeError: its sizes do not fit together.
        TrainingError: a data set cannot be used.
        OSError: a part of an earlier stage is missing.
    """
    task = build_task(recipe, Components())
    try:
        task.open()
    except ValueError as error:
        raise _as_recipe_error(recipe, error) from error
    return task


def build_task(recipe: Recipe, components: Components) -> StageTask[Any]:
    """Build the task that a recipe describes, without its data.

    Args:
        recipe: what to train.
        components: where the networks of the stages before come from.

    Raises:
        RecipeError: its sizes do not fit together.
        OSError: a part of an earlier stage is missing.
    """
    try:
        if recipe.lora is None:
            return task_class(recipe.stage.kind).of(recipe, components)
        from training.stages.lora import LoraTask

        return LoraTask.of(recipe, components)
    except ValueError as error:
        raise _as_recipe_error(recipe, error) from error


def _as_recipe_error(recipe: Recipe, error: ValueError) -> RecipeError:
    if isinstance(error, RecipeError):
        return error
    return RecipeError(f"recipe {recipe.name!r}: {error}")
