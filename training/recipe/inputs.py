"""Checks of the folders and data that a recipe needs on disk, before anything is loaded."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from training.recipe.hub import is_hub_name
from training.recipe.model import DiffusionStage, Recipe, RecipeError, Stage
from training.recipe.sections import LatentData, MediaData

_FOLDERS = ("vae", "towers", "vision", "start", "text")


def check_inputs(recipe: Recipe) -> None:
    """Refuse a recipe whose earlier stages were not run, or whose models or data are not there.

    Raises:
        RecipeError: names the key, the path, and what to do.
    """
    for key in _FOLDERS:
        folder: Path | None = getattr(recipe.stage, key, None)
        if folder is not None and not folder.is_dir():
            raise RecipeError(f"stage.{key}: {folder} does not exist; {_advice(folder)}")
    initialise: str | None = getattr(recipe.stage, "initialise", None)
    if initialise is not None and not is_hub_name(initialise) and not Path(initialise).is_dir():
        raise RecipeError(
            f"stage.initialise: {initialise} does not exist; put a Stable Diffusion 2.x in "
            "diffusers' layout there, or name it as hub:OWNER/NAME"
        )
    for key, path in _data_paths(recipe.stage):
        if not path.exists():
            raise RecipeError(
                f"stage.data.{key}: {path} does not exist; put your data there, or name its place "
                "in a copy of the recipe"
            )


def _advice(folder: Path) -> str:
    if folder.parts[:1] == ("models",):
        return "put the model there (training/recipes/README.md says which)"
    return "run the stage before first"


def _data_paths(stage: Stage) -> Iterator[tuple[str, Path]]:
    if not isinstance(stage, DiffusionStage):
        return
    match stage.data:
        case MediaData() as data:
            for name in ("clips", "pictures", "held_out"):
                chosen = getattr(data, name)
                if chosen is not None and chosen.path is not None:
                    yield f"{name}.path", chosen.path
        case LatentData() as data:
            for name in ("clips", "pictures", "held_out"):
                folder = getattr(data, name)
                if folder is not None:
                    yield name, folder
