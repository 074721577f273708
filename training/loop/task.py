"""The interface between a stage of training and the loop."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn


@dataclass(frozen=True, slots=True)
class ParameterGroup:
    """Parameters that share a learning rate, ``rate`` times the recipe's."""

    parameters: list[nn.Parameter]
    rate: float = 1.0


@dataclass(frozen=True, slots=True)
class Samples:
    """Pictures for people to look at: ``pictures [N, K, 3, H, W]`` in [0, 1], a row each ``[K]``.

    ``captions`` say what each of the N rows should show.
    """

    pictures: Tensor
    captions: list[str]


@dataclass(frozen=True, slots=True)
class StepKind:
    """One kind of step of a stage.

    Attributes:
        name: of a sample of it: "clip", "picture".
        share: of the steps, 0..1.
        samples: a step, of all processes and passes.
    """

    name: str
    share: float
    samples: int


class Task(ABC):
    """A model, its loss, and how its results are judged and handed on.

    The loop knows nothing else of a stage. It calls :meth:`parameter_groups`, moves :attr:`model`
    to its device and calls :meth:`prepare`, all before the first :meth:`loss`.

    Attributes:
        model: everything that is saved; its trained part is named by the groups.
        device: where the model computes; batches belong there too.
    """

    model: nn.Module
    device: torch.device = torch.device("cpu")

    @abstractmethod
    def parameter_groups(self) -> list[ParameterGroup]:
        """The parameters that this stage trains; may freeze the others."""

    @abstractmethod
    def loss(self, rng: np.random.Generator, step: int) -> Tensor:
        """Loss of one share of a batch; all randomness is from ``rng`` and torch's generator.

        A share is ``distributed.share_of`` the batch: the part of one process, and of one pass
        where gradients are accumulated.
        """

    @abstractmethod
    def evaluate(self) -> dict[str, float]:
        """Figures of the current weights, at fixed seeds."""

    @abstractmethod
    def export(self, folder: Path) -> None:
        """Write the current weights in the layout that other parts load."""

    def prepare(self, device: torch.device) -> None:
        """Move what is not part of :attr:`model` (frozen towers, fixed batches) to the device."""
        self.device = device

    def samples(self, count: int) -> Samples | None:
        """Pictures that the current weights make of ``count`` fixed prompts and seeds, if any."""
        return None

    def sample_size(self) -> str:
        """Describe one sample of a batch for messages: "16 frames of 8x8 latents"."""
        return "one sample"

    def counts(self) -> dict[str, float]:
        """Return the counts of this process since it started; the log shows sums over processes."""
        return {}

    def close(self) -> None:  # noqa: B027  # most stages have nothing to end
        """End what works beside the training, such as decoding threads."""
