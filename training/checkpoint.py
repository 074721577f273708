"""Checkpoints of a run: one file, replaced atomically, refused by another recipe."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from training.recipe import Recipe, RecipeError

CHECKPOINT = "checkpoint.pt"


def save_checkpoint(
    folder: Path,
    recipe: Recipe,
    step: int,
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    average: dict[str, Tensor],
) -> None:
    """Write the state after ``step`` steps; a crash while writing leaves the one before."""
    folder.mkdir(parents=True, exist_ok=True)
    state: dict[str, Any] = {
        "recipe": recipe.model_dump_json(),
        "step": step,
        "model": model.state_dict(),
        "optimizer": optimizer.state_dict(),
        "average": average,
    }
    partial = folder / f"{CHECKPOINT}.partial"
    torch.save(state, partial)
    os.replace(partial, folder / CHECKPOINT)


def load_checkpoint(
    folder: Path,
    recipe: Recipe,
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    average: dict[str, Tensor],
) -> int:
    """Restore the run in ``folder`` and return its step; 0 where there is none.

    Raises:
        RecipeError: the checkpoint was written by a different recipe.
    """
    path = folder / CHECKPOINT
    if not path.exists():
        return 0
    state = torch.load(path, map_location="cpu", weights_only=True)
    if state["recipe"] != recipe.model_dump_json():
        raise RecipeError(
            f"{path} was written by another version of recipe {recipe.name!r}; "
            "choose another --output or restore the recipe"
        )
    model.load_state_dict(state["model"])
    optimizer.load_state_dict(state["optimizer"])
    average.update(state["average"])
    return int(state["step"])
