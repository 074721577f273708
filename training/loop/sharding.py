"""Between whole tensors, as checkpoints hold them, and the shards of FSDP.

Without sharding these are the identity, up to the device.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.distributed.tensor import DTensor, distribute_tensor


def is_sharded(model: nn.Module) -> bool:
    """Return whether any parameter of the model is sharded over processes."""
    return any(isinstance(p, DTensor) for p in model.parameters())


def gather(value: Any) -> Any:
    """A copy of a state dict with whole tensors on the CPU; all processes must call it together.

    A tensor that is whole and on the CPU already is not copied.
    """
    if isinstance(value, Mapping):
        return {key: gather(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(gather(item) for item in value)
    if isinstance(value, DTensor):
        return value.full_tensor().detach().cpu()
    if isinstance(value, Tensor):
        return value.detach().cpu()
    return value


def scatter(whole: Tensor, like: Tensor) -> Tensor:
    """A whole tensor in the place, and with the sharding, of another."""
    whole = whole.to(like.device)
    if isinstance(like, DTensor):
        return distribute_tensor(whole, like.device_mesh, like.placements)
    return whole


def load_model(model: nn.Module, weights: Mapping[str, Tensor]) -> None:
    """Load whole tensors into a model, sharded or not.

    Raises:
        RuntimeError: the weights are another model's.
    """
    own = model.state_dict()
    model.load_state_dict({n: scatter(w, own[n]) if n in own else w for n, w in weights.items()})


def load_optimizer(optimizer: torch.optim.Optimizer, state: Mapping[str, Any]) -> None:
    """Load the gathered state of an optimizer, sharded or not."""
    parameters = [p for group in optimizer.param_groups for p in group["params"]]
    moments = {
        index: {
            name: scatter(value, parameters[index])
            if isinstance(value, Tensor) and value.shape == parameters[index].shape
            else value
            for name, value in entry.items()
        }
        for index, entry in state["state"].items()
    }
    optimizer.load_state_dict({**state, "state": moments})
