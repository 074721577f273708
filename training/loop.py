"""The training loop. It knows optimisation and bookkeeping, and nothing of any model."""

from __future__ import annotations

import json
import math
import signal
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Protocol

import numpy as np
import torch
from torch import Tensor, nn

from training import distributed
from training.checkpoint import load_checkpoint, save_checkpoint
from training.recipe import Recipe


class TrainingError(RuntimeError):
    """Training cannot go on; the text says why and what to do."""


@dataclass(frozen=True, slots=True)
class ParameterGroup:
    """Parameters that share a learning rate, ``rate`` times the recipe's."""

    parameters: list[nn.Parameter]
    rate: float = 1.0


class Task(Protocol):
    """What a stage brings to the loop."""

    @property
    def model(self) -> nn.Module:
        """Everything that is saved; its trained part is named by the groups."""
        ...

    def parameter_groups(self) -> list[ParameterGroup]:
        """The parameters that this stage trains; may freeze the others."""
        ...

    def loss(self, rng: np.random.Generator, step: int) -> Tensor:
        """Loss of one batch; draws everything random from ``rng`` and torch's generator."""
        ...

    def evaluate(self) -> dict[str, float]:
        """Figures of the current weights, at fixed seeds."""
        ...

    def export(self, folder: Path) -> None:
        """Write the current weights in the layout that other parts load."""
        ...


class ExponentialAverage:
    """Running mean of the weights; its warm-up forgets the random start."""

    def __init__(self, model: nn.Module, decay: float) -> None:
        self.decay = decay
        self.weights = {
            name: tensor.detach().clone() for name, tensor in model.state_dict().items()
        }

    @torch.no_grad()
    def update(self, model: nn.Module, step: int) -> None:
        """Move the mean towards the weights after a step."""
        decay = min(self.decay, (step + 1) / (step + 10))
        for name, tensor in model.state_dict().items():
            if tensor.is_floating_point():
                self.weights[name].lerp_(tensor, 1 - decay)
            else:
                self.weights[name].copy_(tensor)

    @contextmanager
    def swapped_in(self, model: nn.Module) -> Iterator[None]:
        """Give the model the averaged weights for the length of the block."""
        live = {name: tensor.clone() for name, tensor in model.state_dict().items()}
        model.load_state_dict(self.weights)
        try:
            yield
        finally:
            model.load_state_dict(live)


def learning_rate(recipe: Recipe, step: int) -> float:
    """Linear warm-up, a constant part, then half a cosine to 1 % of the rate."""
    plan = recipe.optimisation
    if step < plan.warmup:
        return plan.learning_rate * (step + 1) / plan.warmup
    progress = step / plan.steps
    if progress <= plan.constant_share:
        return plan.learning_rate
    along = (progress - plan.constant_share) / (1 - plan.constant_share)
    return plan.learning_rate * (0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * along)))


def run(task: Task, recipe: Recipe, folder: Path) -> None:
    """Train to the recipe's last step, going on from ``folder`` where it holds a checkpoint.

    Randomness is a function of (seed, step, rank), so a resumed run equals an uninterrupted one.
    SIGTERM saves and returns.

    Raises:
        TrainingError: the loss is not finite, or the folder belongs to another recipe.
    """
    plan, books = recipe.optimisation, recipe.bookkeeping
    groups = task.parameter_groups()
    optimizer = torch.optim.AdamW(
        [{"params": group.parameters, "rate": group.rate} for group in groups],
        lr=plan.learning_rate,
        betas=plan.betas,
        weight_decay=plan.weight_decay,
    )
    trained = [p for group in groups for p in group.parameters]
    average = ExponentialAverage(task.model, plan.ema)
    start = load_checkpoint(folder, recipe, task.model, optimizer, average.weights)
    log = _Log(folder / "log.jsonl")
    with _stop_on_sigterm() as stop:
        for step in range(start, plan.steps):
            rng = np.random.default_rng([recipe.seed, step, distributed.rank()])
            torch.manual_seed(int(rng.integers(2**63)))
            rate = learning_rate(recipe, step)
            for group in optimizer.param_groups:
                group["lr"] = rate * group["rate"]

            task.model.train()
            loss = task.loss(rng, step)
            if not torch.isfinite(loss):
                raise TrainingError(
                    f"step {step}: the loss is {loss.item()}; lower learning_rate and start again "
                    f"from the last checkpoint in {folder}"
                )
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            distributed.average_gradients(trained)
            norm = torch.nn.utils.clip_grad_norm_(trained, plan.clip_norm)
            optimizer.step()
            average.update(task.model, step)

            done = step + 1
            last = done == plan.steps
            figures = {"loss": loss.item(), "grad_norm": norm.item(), "lr": rate}
            evaluate = last or done % books.evaluate_every == 0
            # Agreed on, or one process would wait for another that has ended already.
            stopping = distributed.any_process(stop.requested)
            if distributed.rank() != 0:
                if stopping:
                    return
                continue
            log.collect(figures)
            if evaluate:
                task.model.eval()
                with average.swapped_in(task.model), torch.no_grad():
                    log.write(done, task.evaluate())
            elif done % books.log_every == 0:
                log.write(done, {})
            if last or stopping or done % books.save_every == 0:
                save_checkpoint(folder, recipe, done, task.model, optimizer, average.weights)
                with average.swapped_in(task.model):
                    task.export(folder / "model")
            if stopping:
                return


class _Log:
    """Means of what was collected since the last line, as JSON lines and on the screen."""

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._path = path
        self._pending: list[Mapping[str, float]] = []
        self._since = time.monotonic()

    def collect(self, figures: Mapping[str, float]) -> None:
        self._pending.append(figures)

    def write(self, step: int, extra: Mapping[str, float]) -> None:
        now = time.monotonic()
        line: dict[str, float] = {"step": step}
        for name in self._pending[0] if self._pending else ():
            line[name] = sum(figures[name] for figures in self._pending) / len(self._pending)
        line["seconds_per_step"] = (now - self._since) / max(1, len(self._pending))
        line |= extra
        self._pending.clear()
        with self._path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")
        print("  ".join(f"{name} {value:.5g}" for name, value in line.items()), flush=True)
        self._since = time.monotonic()


@dataclass(slots=True)
class _Stop:
    requested: bool = False


@contextmanager
def _stop_on_sigterm() -> Iterator[_Stop]:
    stop = _Stop()

    def request(_signal: int, _frame: FrameType | None) -> None:
        stop.requested = True

    previous = signal.signal(signal.SIGTERM, request)
    try:
        yield stop
    finally:
        signal.signal(signal.SIGTERM, previous)
