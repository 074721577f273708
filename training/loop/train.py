"""The training loop. It knows optimisation and bookkeeping, and nothing of any model.

Everything that computes with the model runs inside one module's ``forward``, see :class:`_Inside`:
that is where DDP, FSDP and mixed precision of accelerate take effect, so a task may call any
part of its model in any order. A picture step leaves the temporal layers without gradients; DDP
then looks for unused parameters, which costs a walk through the graph and is right in every case.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from contextlib import nullcontext
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
import torch
from torch import Tensor, nn
from torch.distributed.tensor import DTensor
from torch.utils.flop_counter import FlopCounterMode

from common.out_of_memory import is_out_of_memory
from training.errors import TrainingError
from training.loop import distributed, sharding
from training.loop.board import Board
from training.loop.checkpoint import Checkpoint, load_checkpoint, remove_partial, save_checkpoint
from training.loop.devices import open_accelerator
from training.loop.ema import ExponentialAverage
from training.loop.log import Log
from training.loop.machine_speed import measure_peak
from training.loop.memory import advice, enable_gradient_checkpointing
from training.loop.progress import Speed, Stopwatch, TrainingProgress
from training.loop.run_folder import locked, replace_model
from training.loop.stopping import Stop, stop_when_told
from training.loop.task import ParameterGroup, Task
from training.recipe.model import Recipe, RecipeError

if TYPE_CHECKING:
    from accelerate import Accelerator

__all__ = ["ParameterGroup", "Task", "TrainingError", "learning_rate", "run"]

T = TypeVar("T")


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


def run(
    task: Task,
    recipe: Recipe,
    folder: Path,
    accelerator: Accelerator | None = None,
    *,
    measure: bool = False,
) -> None:
    """Train to the recipe's last step, going on from ``folder`` where it holds a checkpoint.

    Randomness is a function of (seed, step, share of the batch), so a resumed run equals an
    uninterrupted one. SIGTERM and Ctrl-C save and return after the step that is under way.

    Args:
        task: what to train.
        recipe: how.
        folder: of the run; made if missing.
        accelerator: see :func:`training.loop.devices.open_accelerator`; None for one process alone.
        measure: measure the machine's peak first, and show the share of it that is reached.

    Raises:
        RecipeError: the folder belongs to another recipe, or the batch does not divide.
        TrainingError: another run has the folder, the loss is not finite, the memory or the disk
            is full. The checkpoints before stay.
    """
    if accelerator is None:
        with open_accelerator(recipe.optimisation.precision) as own:
            run(task, recipe, folder, own, measure=measure)
            return
    with locked(folder) if accelerator.is_main_process else nullcontext():
        checkpoint = load_checkpoint(folder, recipe)
        trainer = _Trainer(task, recipe, folder, accelerator)
        if checkpoint is not None:
            trainer.restore(checkpoint)
        if trainer.done < recipe.optimisation.steps:
            if measure:
                trainer.measure_peak()
            trainer.train()
        # None may read the folder again, or tell that it ended, while the main one still writes.
        accelerator.wait_for_everyone()


class _Inside(nn.Module):
    """A module whose forward runs a function that uses the model.

    DDP and FSDP act when the forward of what they wrap runs. A task calls parts of its model
    (text tower, UNet, keys and values ahead of the UNet) rather than one forward; inside this one
    it may.
    """

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, function: Callable[[], T]) -> T:
        return function()


class _Trainer:
    """The state of a run: weights, their mean, optimiser, and how many steps are done."""

    def __init__(self, task: Task, recipe: Recipe, folder: Path, accelerator: Accelerator) -> None:
        plan = recipe.optimisation
        self.task, self.recipe, self.folder, self.accelerator = task, recipe, folder, accelerator
        distributed.share_of(plan.batch_size, plan.accumulate)  # refuses what does not divide
        self.main = accelerator.is_main_process
        self.done = 0
        self._peak: float | None = None
        if plan.gradient_checkpointing:
            enable_gradient_checkpointing(task.model)
        groups = task.parameter_groups()
        optimizer = torch.optim.AdamW(
            [{"params": group.parameters, "rate": group.rate} for group in groups],
            lr=plan.learning_rate,
            betas=plan.betas,
            weight_decay=plan.weight_decay,
        )
        self.wrapped, self.optimizer = accelerator.prepare(_Inside(task.model), optimizer)
        # Whole models are looked at by one process alone; shards need all of them together.
        self.sharded = sharding.is_sharded(task.model)
        self.inside = (
            self.wrapped
            if self.sharded
            else accelerator.unwrap_model(self.wrapped, keep_fp32_wrapper=True)
        )
        task.prepare(accelerator.device)
        if self.sharded and plan.ema_device == "cpu":
            raise RecipeError(
                'optimisation.ema_device: with FSDP only "model", where it is sharded'
            )
        # From the optimizer: sharding puts other parameters in the place of the groups'.
        self.trained = [p for group in optimizer.param_groups for p in group["params"]]
        self.average = ExponentialAverage(task.model, plan.ema, plan.ema_device)

    def restore(self, checkpoint: Checkpoint) -> None:
        sharding.load_model(self.task.model, checkpoint.model)
        sharding.load_optimizer(self.optimizer, checkpoint.optimizer)
        for name, tensor in self.average.weights.items():
            tensor.copy_(sharding.scatter(checkpoint.average[name], tensor))
        self.done = checkpoint.step

    def measure_peak(self) -> None:
        precision = self.recipe.optimisation.precision
        own = measure_peak(self.accelerator.device, precision)
        mean = distributed.mean_over_processes([own], self.accelerator.device)[0]
        self._peak = mean * self.accelerator.num_processes

    def train(self) -> None:
        plan, books = self.recipe.optimisation, self.recipe.bookkeeping
        if self.main:
            remove_partial(self.folder)
        log = Log(self.folder, self.done) if self.main else None
        board = Board(self.folder, self.done) if self.main else None
        progress = TrainingProgress(self.done, plan.steps, plan.batch_size, show=self.main)
        with stop_when_told() as stop, progress:
            watch, stopping = Stopwatch(), False
            while self.done < plan.steps and not stopping:
                watch.read()  # what came between two steps is no part of them
                figures = self._counted_step(stop, progress)
                figures["seconds_per_step"] = watch.read()
                self.done += 1
                stopping = stop.agreed
                progress.advance(figures["loss"], figures["seconds_per_step"])
                last = self.done == plan.steps
                evaluate = last or self.done % books.evaluate_every == 0
                extra = self._evaluate(board) if evaluate else {}
                tell = evaluate or self.done % books.log_every == 0
                if tell:
                    counts = self.task.counts()
                    extra |= distributed.summed_over_processes(counts, self.accelerator.device)
                if log is not None and board is not None:
                    log.collect(figures)
                    if tell:
                        line = log.write(self.done, extra)
                        board.figures(line)
                        progress.line(line)
                if last or stopping or self.done % books.save_every == 0:
                    self.save()
        if board is not None:
            board.close()

    def _counted_step(self, stop: Stop, progress: TrainingProgress) -> dict[str, float]:
        try:
            peak = self._peak
            if peak is None or progress.speed is not None:
                return self._step(stop)
            with FlopCounterMode(display=False) as counter:
                figures = self._step(stop)
            flops = counter.get_total_flops() * self.accelerator.num_processes
            progress.speed = Speed(flops, peak)
            return figures
        except (RuntimeError, MemoryError, OSError) as error:
            if not is_out_of_memory(error):
                raise
            processes, device = self.accelerator.num_processes, self.accelerator.device
            words = advice(self.recipe, processes, self.task.sample_size(), device)
            raise TrainingError(f"step {self.done}: {words}") from error

    def _step(self, stop: Stop) -> dict[str, float]:
        plan, step = self.recipe.optimisation, self.done
        rate = learning_rate(self.recipe, step)
        for group in self.optimizer.param_groups:
            group["lr"] = rate * group["rate"]
        self.task.model.train()
        self.optimizer.zero_grad(set_to_none=True)
        total = torch.zeros((), device=self.accelerator.device)
        for part in range(plan.accumulate):
            share = distributed.rank() * plan.accumulate + part
            rng = np.random.default_rng([self.recipe.seed, step, share])
            torch.manual_seed(int(rng.integers(2**63)))
            last = part == plan.accumulate - 1
            # Gradients travel between the processes once a step, with the last pass.
            with nullcontext() if last else self.accelerator.no_sync(self.wrapped):
                loss: Tensor = self.wrapped(partial(self.task.loss, rng, step)) / plan.accumulate
                self.accelerator.backward(loss)
            total += loss.detach()
        loss_mean, stopping = distributed.mean_over_processes(
            [total.item(), float(stop.requested)], self.accelerator.device
        )
        # Agreed on, or one process would wait for another that has ended already.
        stop.agreed = stopping > 0
        if not math.isfinite(loss_mean):
            raise self._diverged("loss", loss_mean)
        norm = torch.nn.utils.clip_grad_norm_(self.trained, plan.clip_norm)
        if isinstance(norm, DTensor):
            norm = norm.full_tensor()
        if not math.isfinite(norm.item()):
            raise self._diverged("norm of the gradients", norm.item())
        self.optimizer.step()
        self.average.update(self.task.model, step)
        return {"loss": loss_mean, "grad_norm": norm.item(), "lr": rate}

    def _evaluate(self, board: Board | None) -> dict[str, float]:
        if not (self.main or self.sharded):
            return {}
        self.task.model.eval()
        with self.average.swapped_in(self.task.model), torch.no_grad():
            figures: dict[str, float] = self.inside(self.task.evaluate)
            count = self.recipe.bookkeeping.samples
            samples = self.inside(partial(self.task.samples, count)) if count else None
        if board is not None and samples is not None:
            board.samples(self.done, samples)
        return figures

    def save(self) -> None:
        """Write checkpoint and model; with shards, ``training.launch`` writes the model last."""
        if not (self.main or self.sharded):
            return
        model: dict[str, Any] = sharding.gather(self.task.model.state_dict())
        average = sharding.gather(self.average.weights)
        optimizer = sharding.gather(self.optimizer.state_dict())
        if not self.main:
            return
        save_checkpoint(self.folder, self.recipe, Checkpoint(self.done, model, average, optimizer))
        if not self.sharded:
            with self.average.swapped_in(self.task.model):
                replace_model(self.folder, self.task.export)

    def _diverged(self, what: str, value: float) -> TrainingError:
        return TrainingError(
            f"step {self.done}: the {what} is {value}; lower learning_rate and start again "
            f"from the last checkpoint in {self.folder}"
        )


def export_average(task: Task, recipe: Recipe, folder: Path) -> None:
    """Write ``model/`` from the newest checkpoint of a run, as the loop does without shards."""
    checkpoint = load_checkpoint(folder, recipe)
    if checkpoint is None:
        return
    task.parameter_groups()  # freezes what the stage does not train
    task.model.load_state_dict({**checkpoint.model, **checkpoint.average})
    replace_model(folder, task.export)
