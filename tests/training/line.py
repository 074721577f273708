"""A task small enough to follow by hand, and processes that train it together.

``python -m tests.training.line FOLDER MODE`` is one of several processes; see :func:`main`.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import torch
from accelerate import Accelerator, FullyShardedDataParallelPlugin
from accelerate.state import AcceleratorState, PartialState
from accelerate.utils import DistributedType
from torch import Tensor, nn

from training.loop.checkpoint import checkpoint_folders
from training.loop.devices import open_accelerator
from training.loop.distributed import share_of
from training.loop.task import ParameterGroup, Samples, Task
from training.loop.train import run
from training.recipe.model import Recipe

BATCH = 8


def recipe(steps: int = 6, *, books: dict[str, object] | None = None, **plan: object) -> Recipe:
    """A recipe of that name; ``plan`` and ``books`` change its optimisation and bookkeeping."""
    return Recipe.model_validate(
        {
            "name": "line",
            "seed": 4,
            "stage": {"kind": "vae"},
            "optimisation": {
                "steps": steps,
                "batch_size": BATCH,
                "learning_rate": 0.05,
                "warmup": 2,
                "ema": 0.5,
                **plan,
            },
            "bookkeeping": {"log_every": 1, "evaluate_every": 3, "save_every": 1, **(books or {})},
        }
    )


class Network(nn.Module):
    """Has no forward of its own, a layer that odd steps skip, and dropout."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(3, 8)
        self.sometimes = nn.Linear(8, 8)
        self.dropout = nn.Dropout(0.5)
        self.last = nn.Linear(8, 1)
        self.register_buffer("scale", torch.ones(()))


class Line(Task):
    """Fits a plane; draws from numpy's and from torch's randomness."""

    def __init__(self, plan: Recipe | None = None) -> None:
        torch.manual_seed(0)
        self.model = Network()
        self.accumulate = plan.optimisation.accumulate if plan else 1
        self.steps: list[int] = []
        self.stop_at: int | None = None
        self.poison_at: int | None = None
        self.starve_at: int | None = None

    def parameter_groups(self) -> list[ParameterGroup]:
        return [
            ParameterGroup([*self.model.first.parameters(), *self.model.sometimes.parameters()]),
            ParameterGroup(list(self.model.last.parameters()), rate=2.0),
        ]

    def loss(self, rng: np.random.Generator, step: int) -> Tensor:
        self.steps.append(step)
        if step == self.stop_at:
            os.kill(os.getpid(), signal.SIGTERM)
        if step == self.starve_at:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB.")
        x = torch.from_numpy(rng.normal(size=(share_of(BATCH, self.accumulate), 3))).float()
        hidden = self.model.first(x)
        if step % 2 == 0:
            hidden = hidden + self.model.sometimes(hidden)
        out = self.model.last(self.model.dropout(hidden))
        loss = (out[:, 0] - x.sum(1)).square().mean()
        return loss * float("nan") if step == self.poison_at else loss

    def evaluate(self) -> dict[str, float]:
        return {"answer": self.model.last(self.model.first(torch.ones(1, 3))).item()}

    def export(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        torch.save(self.model.state_dict(), folder / "weights.pt")

    def samples(self, count: int) -> Samples | None:
        return Samples(torch.rand(count, 3, 3, 4, 5), [f"row {n}" for n in range(count)])

    def sample_size(self) -> str:
        return "3 numbers"


def exported(folder: Path) -> dict[str, Tensor]:
    weights: dict[str, Tensor] = torch.load(folder / "model" / "weights.pt", weights_only=True)
    return weights


def newest(folder: Path) -> Path:
    return checkpoint_folders(folder)[-1]


@contextmanager
def sharded(plan: Recipe) -> Iterator[Accelerator]:
    """As ``accelerate launch`` with FSDP, but on the CPU, which it would not shard by itself."""
    with open_accelerator(plan.optimisation.precision, cpu=True) as accelerator:
        plugin = FullyShardedDataParallelPlugin(
            fsdp_version=2, auto_wrap_policy="size_based_wrap", min_num_params=1
        )
        PartialState._shared_state["distributed_type"] = DistributedType.FSDP
        AcceleratorState._shared_state |= {
            "distributed_type": DistributedType.FSDP,
            "fsdp_plugin": plugin,
        }
        yield accelerator


def main(folder: Path, mode: str) -> None:
    """Train in ``folder/whole`` without a pause and in ``folder/parts`` with one after step 3."""
    plan = recipe()
    together = sharded(plan) if mode == "fsdp" else open_accelerator("fp32", cpu=True)
    with together as accelerator:
        run(Line(), plan, folder / "whole", accelerator)
        stopped = Line()
        # One process is told, all must stop after the same step.
        stopped.stop_at = 3 if accelerator.process_index == 1 else None
        run(stopped, plan, folder / "parts", accelerator)
        run(Line(), plan, folder / "parts", accelerator)


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2])
