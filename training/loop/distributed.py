"""The processes that train together, as far as a stage may know of them."""

from __future__ import annotations

import torch
import torch.distributed as dist

from training.recipe.model import RecipeError


def rank() -> int:
    """This process's number, 0 when there is only one."""
    return dist.get_rank() if dist.is_initialized() else 0


def world_size() -> int:
    """Return the number of processes that train together."""
    return dist.get_world_size() if dist.is_initialized() else 1


def share_of(batch_size: int, accumulate: int = 1) -> int:
    """Return the number of samples of a batch that one process takes in one pass.

    Args:
        batch_size: samples of all processes and passes together.
        accumulate: passes whose gradients are added up before the weights move.

    Raises:
        RecipeError: the batch does not divide.
    """
    return divided(batch_size, world_size(), accumulate)


def divided(batch_size: int, processes: int, accumulate: int) -> int:
    """A batch's part for each process and pass.

    Raises:
        RecipeError: the batch does not divide.
    """
    if batch_size % (processes * accumulate):
        passes = f" x {accumulate} passes (optimisation.accumulate)" if accumulate > 1 else ""
        raise RecipeError(
            f"a batch of {batch_size} does not divide by {processes} processes{passes}"
        )
    return batch_size // (processes * accumulate)


def summed_over_processes(figures: dict[str, float], device: torch.device) -> dict[str, float]:
    """Sums over the processes; all must ask at the same point, for the same names."""
    if not figures:
        return {}
    means = mean_over_processes(list(figures.values()), device)
    return {name: mean * world_size() for name, mean in zip(figures, means, strict=True)}


def mean_over_processes(figures: list[float], device: torch.device) -> list[float]:
    """Means over the processes; all must ask at the same point."""
    if world_size() == 1:
        return figures
    kind = torch.float32 if device.type == "mps" else torch.float64
    together = torch.tensor(figures, dtype=kind, device=device)
    dist.all_reduce(together)
    return [float(figure) for figure in together / world_size()]
