"""The cost of a recipe's steps, found without computing them: its task on torch's meta device."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from training.loop.memory import enable_gradient_checkpointing
from training.loop.task import StepKind
from training.planning.flop_counter import StepCounter, fused_attention, gradients_dropped
from training.planning.meta_components import MetaComponents
from training.recipe.model import Recipe, RecipeError
from training.stages.stage_task import StageTask

_COUNTS = (1, 2)
"""Samples of the two steps that are counted; what they differ by is a sample's."""


@dataclass(frozen=True, slots=True)
class StepCost(StepKind):
    """One kind of step, and what a sample of it costs.

    Attributes:
        flops: floating-point operations a sample: forward, backward, recomputation, and frozen
            networks where they compute while training.
        activations: bytes that the forward pass of one sample keeps for the backward pass, and
            what the backward pass needs on top.
    """

    flops: float
    activations: float


@dataclass(frozen=True, slots=True)
class TrainingWorkload:
    """A recipe's model and the cost of its steps.

    Attributes:
        parameters: of the model; frozen towers beside it do not count.
        trained: those of them that the stage moves.
        kinds: of steps; their shares add up to 1.
    """

    parameters: int
    trained: int
    kinds: tuple[StepCost, ...]


def measure_workload(recipe: Recipe) -> TrainingWorkload:
    """Count parameters, operations and activations of a recipe.

    Where the stage before was not run yet, its model is the one of the shipped recipe of that name.

    Raises:
        RecipeError: the sizes cannot be built, or the stage before is neither run nor shipped.
    """
    try:
        task = MetaComponents().build(recipe)
        groups = task.parameter_groups()
        if recipe.optimisation.gradient_checkpointing:
            enable_gradient_checkpointing(task.model)
        _compute_in(task.model.train(), recipe)
        return TrainingWorkload(
            parameters=sum(p.numel() for p in task.model.parameters()),
            trained=sum(p.numel() for group in groups for p in group.parameters),
            kinds=tuple(_cost(task, kind) for kind in task.step_kinds()),
        )
    except RecipeError:
        raise
    except ValueError as error:
        raise RecipeError(f"recipe {recipe.name!r}: {error}") from error


def _cost(task: StageTask[Any], kind: StepKind) -> StepCost:
    known: dict[Hashable, Any] = {}
    counters = [StepCounter(task.model, known) for _ in _COUNTS]
    with fused_attention(), gradients_dropped(task.model):
        for counter, count in zip(counters, _COUNTS, strict=True):
            with counter:
                batch = task.example_batch(kind.name, count)
                counter.forget_peak()
                task.batch_loss(batch, np.random.default_rng(0)).backward()
    one, more = (counter.peak for counter in counters)
    return StepCost(
        kind.name,
        kind.share,
        kind.samples,
        flops=counters[0].flops,
        activations=(more - one) / (_COUNTS[1] - _COUNTS[0]),
    )


def _compute_in(model: nn.Module, recipe: Recipe) -> None:
    """Let every layer compute in the recipe's precision, as autocast has it on real devices."""
    if recipe.optimisation.precision == "fp32":
        return
    nn.Module.to(model, torch.bfloat16)  # not diffusers', which warns of precision
    for module in model.modules():
        if next(module.parameters(recurse=False), None) is not None:
            module.register_forward_pre_hook(_cast)


def _cast(_module: nn.Module, inputs: tuple[Any, ...]) -> tuple[Any, ...]:
    return tuple(
        value.to(torch.bfloat16)
        if isinstance(value, Tensor) and value.is_floating_point()
        else value
        for value in inputs
    )
