"""``python -m training plan``: what a recipe will cost, before anything runs."""

from __future__ import annotations

import argparse
import json
import math
import os
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from training.planning.hardware import ACCELERATORS, ASSUMED_UTILISATION, Accelerator, measure_peak
from training.recipe.model import Precision, Recipe, RecipeError, load_recipe

if TYPE_CHECKING:
    from training.planning.workload import TrainingWorkload

HERE, CPU = "here", "cpu"
_GB = 1e9
_DAY = 24.0
_YEAR = 365.25 * _DAY
"""In hours."""
_SPARE = 0.92
"""Share of the memory that tensors may fill; the rest is the driver's and fragmentation's."""


@dataclass(frozen=True, slots=True)
class Memory:
    """GB on each device."""

    weights: float
    gradients: float
    optimizer: float
    average: float
    activations: float

    @property
    def total(self) -> float:
        """All of it."""
        parts: dict[str, float] = asdict(self)
        return sum(parts.values())


@dataclass(frozen=True, slots=True)
class TrainingPlan:
    """An estimate.

    Attributes:
        recipe: its name.
        steps: of the optimiser.
        samples: seen in all steps together, by kind: clips and pictures.
        flops_per_sample: forward and backward, by kind.
        flops: of the whole run.
        device: what it would run on, and how many of them.
        devices: how many.
        peak: floating-point operations a second of one device, in the recipe's precision.
        utilisation: share of the peak that is assumed.
        hours: on all devices together.
        device_hours: hours times devices.
        memory: on each device.
        memory_of_device: GB.
        parameters: of the model.
        trained: those that move.
        accumulate: passes that the recipe would need to fit; None if no number of them helps.
        savings: keys, with values, that would take less memory.
    """

    recipe: str
    steps: int
    samples: dict[str, int]
    flops_per_sample: dict[str, float]
    flops: float
    device: str
    devices: int
    peak: float
    utilisation: float
    hours: float
    device_hours: float
    memory: Memory
    memory_of_device: float
    parameters: int
    trained: int
    accumulate: int | None
    savings: tuple[str, ...]

    @property
    def fits(self) -> bool:
        """True if the recipe as it is fits into the memory."""
        return self.memory.total <= _SPARE * self.memory_of_device

    def text(self) -> str:
        """For people."""
        samples = " and ".join(f"{n:,} {_plural(kind)}" for kind, n in self.samples.items())
        flops = ", ".join(f"{_si(f)}FLOP a {kind}" for kind, f in self.flops_per_sample.items())
        parts = ", ".join(f"{name} {_gb(value)}" for name, value in asdict(self.memory).items())
        hours = f"{_hours(self.device_hours)} device-hours"
        lines = [
            f"recipe      {self.recipe}: {self.steps:,} steps, {samples}",
            f"model       {_si(self.parameters)} parameters, {_si(self.trained)} of them trained",
            f"compute     {flops} (forward and backward); {_si(self.flops)}FLOP in all",
            f"hardware    {self.devices} x {self.device}, {_si(self.peak)}FLOP/s each",
            f"time        {_duration(self.hours)} at {self.utilisation:.0%} of that speed, {hours}",
            f"memory      {_gb(self.memory.total)} of {_gb(self.memory_of_device)}: {parts}",
        ]
        if not self.fits:
            lines.append(f"too large   {self._advice()}")
        return "\n".join(lines)

    def _advice(self) -> str:
        if self.accumulate is not None:
            return f"set optimisation.accumulate = {self.accumulate}"
        keys = " and ".join(f"optimisation.{key}" for key in self.savings)
        return f"set {keys}, or spread the model with FSDP" if keys else "spread it with FSDP"


def make_plan(
    recipe: Recipe,
    device: Accelerator,
    devices: int = 1,
    utilisation: float = ASSUMED_UTILISATION,
    work: TrainingWorkload | None = None,
) -> TrainingPlan:
    """Estimate time and memory of a recipe on given hardware.

    Counted are the trained model, its optimiser (float32, AdamW), and frozen encoders of pixels
    where they work in a step; not a frozen text tower, whose features may be computed beforehand,
    decoding or evaluations. Memory is that of DDP: everything on each device.

    Args:
        recipe: what to train.
        device: on what.
        devices: on how many, each taking its part of a batch.
        utilisation: share of the peak that is reached, 0..1.
        work: the recipe's workload, where it was measured before.

    Raises:
        RecipeError: the recipe cannot be built, or the batch does not divide.
    """
    from training.loop.distributed import divided
    from training.planning.workload import measure_workload

    work, plan = work or measure_workload(recipe), recipe.optimisation
    for kind in work.kinds:
        divided(kind.samples, devices, plan.accumulate)
    samples = {kind.name: round(plan.steps * kind.share * kind.samples) for kind in work.kinds}
    flops = sum(samples[kind.name] * kind.flops for kind in work.kinds)
    peak = device.peak(plan.precision)
    hours = flops / (peak * utilisation * devices) / 3600
    copies = 2 if plan.precision == "bf16" else 0  # autocast keeps the weights in bfloat16 too
    fixed = Memory(
        weights=(4 + copies) * work.parameters / _GB,
        gradients=4 * work.trained / _GB,
        optimizer=8 * work.trained / _GB,
        average=4 * work.trained / _GB if plan.ema_device == "model" else 0.0,
        activations=0.0,
    )

    def activations(passes: int) -> float:
        return max(k.activations * k.samples / (devices * passes) for k in work.kinds) / _GB

    memory = Memory(**{**asdict(fixed), "activations": activations(plan.accumulate)})
    room = _SPARE * device.memory - fixed.total
    shares = [kind.samples // devices for kind in work.kinds]
    passes = (n for n in range(1, math.gcd(*shares) + 1) if all(s % n == 0 for s in shares))
    return TrainingPlan(
        recipe=recipe.name,
        steps=plan.steps,
        samples=samples,
        flops_per_sample={kind.name: kind.flops for kind in work.kinds},
        flops=flops,
        device=device.title,
        devices=devices,
        peak=peak,
        utilisation=utilisation,
        hours=hours,
        device_hours=hours * devices,
        memory=memory,
        memory_of_device=device.memory,
        parameters=work.parameters,
        trained=work.trained,
        accumulate=next((n for n in passes if activations(n) <= room), None),
        savings=tuple(
            key
            for key, used in (
                ("gradient_checkpointing = true", plan.gradient_checkpointing),
                ('precision = "bf16"', plan.precision == "bf16"),
            )
            if not used
        ),
    )


def this_machine(precision: Precision, *, cpu: bool = False) -> Accelerator:
    """The accelerator of this machine, or its processor: measured, about a second."""
    import torch

    if torch.cuda.is_available() and not cpu:
        properties = torch.cuda.get_device_properties(0)
        device, title, memory = torch.device("cuda"), properties.name, properties.total_memory
    else:
        device, title = torch.device("cpu"), f"this processor ({torch.get_num_threads()} threads)"
        memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    peak = measure_peak(device, precision) / 1e12
    return Accelerator(title, peak, peak, memory / _GB)


def add_plan_parser(commands: Any) -> None:
    """Add the subcommand ``plan`` with its options."""
    parser = commands.add_parser(
        "plan",
        help="estimate time and memory of a recipe before it runs",
        description="Estimate steps, samples, device-hours and memory of a recipe. The model is "
        "counted and not computed; speeds are the data sheets' (dense, at the assumed share).",
    )
    parser.add_argument("recipe", help="name of a shipped recipe, or path of a .toml file")
    parser.add_argument(
        "--gpus", type=_positive, default=1, metavar="N", help="devices (default 1)"
    )
    parser.add_argument(
        "--gpu",
        choices=(HERE, CPU, *ACCELERATORS),
        default=HERE,
        help="what kind of device (default: that of this machine, measured; so is cpu)",
    )
    parser.add_argument(
        "--utilisation",
        type=_share,
        default=ASSUMED_UTILISATION,
        metavar="SHARE",
        help=f"share of the peak that is reached (default {ASSUMED_UTILISATION})",
    )
    parser.add_argument("--json", action="store_true", help="for programs")


def run_plan(options: argparse.Namespace) -> int:
    """Carry out ``plan``.

    Raises:
        RecipeError: the recipe is wrong.
    """
    recipe = load_recipe(options.recipe)
    device = ACCELERATORS.get(options.gpu)
    if device is None:
        if options.gpus > 1:
            raise RecipeError("--gpus: say which kind of device by --gpu")
        device = this_machine(recipe.optimisation.precision, cpu=options.gpu == CPU)
    plan = make_plan(recipe, device, options.gpus, options.utilisation)
    if options.json:
        facts = {**asdict(plan), "memory_total": plan.memory.total, "fits": plan.fits}
        print(json.dumps(facts, indent=2))
    else:
        print(plan.text())
    return 0


def _positive(text: str) -> int:
    try:
        value = int(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"must be a whole number, not {text!r}") from None
    if value < 1:
        raise argparse.ArgumentTypeError(f"must be 1 or more, not {value}")
    return value


def _share(text: str) -> float:
    value = float(text)
    if not 0 < value <= 1:
        raise argparse.ArgumentTypeError(f"must be above 0 and at most 1, not {value}")
    return value


def _plural(kind: str) -> str:
    return f"{kind}s"


def _si(value: float) -> str:
    for size, name in ((1e18, "E"), (1e15, "P"), (1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k")):
        if value >= size:
            return f"{value / size:.3g} {name}"
    return f"{value:.3g} "


def _gb(value: float) -> str:
    return f"{value:.1f} GB" if value >= 1 else f"{value * 1000:.0f} MB"


def _hours(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def _duration(hours: float) -> str:
    if hours < 1 / 60:
        return f"{hours * 3600:.0f} s"
    if hours < 2:
        return f"{hours * 60:.0f} min"
    if hours < _DAY:
        return f"{hours:.1f} h"
    if hours < _YEAR:
        return f"{hours / _DAY:.1f} days"
    return f"{hours / _YEAR:,.1f} years"
