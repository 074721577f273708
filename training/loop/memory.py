"""Memory: say what to change when it is used up, and compute activations again."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from training.recipe.model import Recipe, RecipeError


def advice(recipe: Recipe, processes: int, sample: str, device: torch.device) -> str:
    """Say what did not fit, and which keys of the recipe make it smaller.

    Args:
        recipe: of the run.
        processes: that share a batch.
        sample: what one sample is, "16 frames of 8x8 latents".
        device: whose memory it was.
    """
    plan = recipe.optimisation
    share = plan.batch_size // (processes * plan.accumulate)
    text = f"out of memory on {device} with {share} x ({sample}) at a time"
    if share > 1:
        part = next(n for n in range(share // 2, 0, -1) if share % n == 0)
        passes = plan.accumulate * share // part
        text += (
            f"; set optimisation.accumulate = {passes}, which trains the same batch of "
            f"{plan.batch_size} in parts of {part}, or optimisation.batch_size = "
            f"{part * plan.accumulate * processes}"
        )
    if not plan.gradient_checkpointing:
        also = ", also" if share > 1 else ";"
        text += f"{also} optimisation.gradient_checkpointing = true"
    elif share == 1:
        text += "; only smaller or shorter clips, or more machines with FSDP, need less"
    return text


def enable_gradient_checkpointing(model: nn.Module) -> None:
    """Let every part of a model that can compute its activations again in the backward pass.

    Raises:
        RecipeError: no part can.
    """
    able = [m for m in model.modules() if getattr(m, "_supports_gradient_checkpointing", False)]
    if not able:
        raise RecipeError(
            "optimisation.gradient_checkpointing: no part of this stage's model supports it"
        )
    for module in able:
        enable: Any = module.enable_gradient_checkpointing
        enable()
