"""The running mean of the weights, which samples, evaluations and exports use."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal

import torch
from torch import Tensor, nn

EmaDevice = Literal["model", "cpu"]


class ExponentialAverage:
    """Running mean of what a stage trains; its warm-up forgets the random start.

    Frozen parameters are not kept a second time: the mean of what never moves is the model's own.

    Args:
        model: whose parameters are averaged; sharded parameters (FSDP) are averaged as shards.
        decay: how much of the mean stays at each step, at most.
        device: "cpu" saves the accelerator's memory and costs a copy each step.
    """

    def __init__(self, model: nn.Module, decay: float, device: EmaDevice = "model") -> None:
        self.decay = decay
        self._device = device
        self.weights = {
            name: self._place(tensor.detach().clone()) for name, tensor in _moving(model).items()
        }

    @torch.no_grad()
    def update(self, model: nn.Module, step: int) -> None:
        """Move the mean towards the weights after step number ``step`` (from 0)."""
        decay = min(self.decay, (step + 1) / (step + 10))
        for name, tensor in _moving(model).items():
            if tensor.is_floating_point():
                self.weights[name].lerp_(self._place(tensor.detach()), 1 - decay)
            else:
                self.weights[name].copy_(tensor)

    @contextmanager
    @torch.no_grad()
    def swapped_in(self, model: nn.Module) -> Iterator[None]:
        """Give the model the averaged weights for the length of the block."""
        live = {name: tensor.detach().clone() for name, tensor in _moving(model).items()}
        _copy(self.weights, model)
        try:
            yield
        finally:
            _copy(live, model)

    def _place(self, tensor: Tensor) -> Tensor:
        return tensor.cpu() if self._device == "cpu" else tensor


def _moving(model: nn.Module) -> dict[str, Tensor]:
    """The trained parameters and the buffers that are saved, by their names."""
    frozen = {name for name, p in model.named_parameters() if not p.requires_grad}
    saved = model.state_dict(keep_vars=True)
    return {name: tensor for name, tensor in saved.items() if name not in frozen}


@torch.no_grad()
def _copy(weights: dict[str, Tensor], model: nn.Module) -> None:
    for name, tensor in _moving(model).items():
        tensor.detach().copy_(weights[name])
