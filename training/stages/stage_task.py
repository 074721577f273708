"""The interface of a stage: a task that can be run, and planned without being run."""

from __future__ import annotations

from abc import abstractmethod
from typing import ClassVar, Generic, Self, TypeVar

import numpy as np
from torch import Tensor, nn

from training.loop.task import StepKind, Task
from training.recipe.model import Recipe, StageSection
from training.stages.components import Components

BatchT = TypeVar("BatchT")


class StageTask(Task, Generic[BatchT]):
    """A task whose steps can be computed apart from its data, and so be planned.

    ``training plan`` builds the task on torch's meta device, and counts the operations and the
    memory of :meth:`batch_loss` on an :meth:`example_batch`; the run computes the same method.

    Attributes:
        section: the keys of the recipe's ``[stage]``.
    """

    section: ClassVar[type[StageSection]]

    @classmethod
    @abstractmethod
    def of(cls, recipe: Recipe, components: Components) -> Self:
        """Build the task of a recipe; what earlier stages made comes from the components."""

    @abstractmethod
    def draw(self, rng: np.random.Generator, step: int) -> BatchT:
        """Return one share of a batch, on the device."""

    @abstractmethod
    def batch_loss(self, batch: BatchT, rng: np.random.Generator) -> Tensor:
        """Loss of a share of a batch."""

    @abstractmethod
    def step_kinds(self) -> tuple[StepKind, ...]:
        """The kinds of steps that come at all; their shares add up to 1."""

    @abstractmethod
    def example_batch(self, kind: str, count: int) -> BatchT:
        """Return a batch of ``count`` samples in the shapes of a kind of step, on the device."""

    def open(self) -> None:  # most stages draw their data
        """Open the data, so that what is wrong with it is said before anything is computed."""

    def loss(self, rng: np.random.Generator, step: int) -> Tensor:
        """Draw a share of a batch and return its loss."""
        return self.batch_loss(self.draw(rng, step), rng)

    def components(self) -> dict[str, nn.Module]:
        """The networks that the stage hands on, by the folders that :meth:`export` writes."""
        return {}
