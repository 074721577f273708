"""Names, options and limits of the samplers, known without a model framework.

The catalogue of models uses it, which must list them quickly; the samplers themselves hold to it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any, get_args

from engine.schedulers.solver_table import SOLVERS, PredictionType, Solver, Spacing

DEFAULT_TRAIN_TIMESTEPS = 1000


@dataclass(frozen=True, slots=True, kw_only=True)
class NoiseScheduleConfig:
    """Parameters of the forward process.

    Attributes:
        num_train_timesteps: number of timesteps, at least 2.
        beta_start: first beta of a schedule that is linear in `sqrt(beta)`; in (0, 1).
        beta_end: last beta; in [beta_start, 1).
        trained_betas: explicit betas, each in (0, 1], instead of the two values above.
        rescale_to: final value of `s_t`, in (0, 1]; None for no rescale.
        rescale_steps: number of timesteps over which `s_t` falls, at least 2.
        prediction_type: what the network predicts. The velocity of "v_prediction" is that of the
            variance-preserving process: `sqrt(abar') * eps - sqrt(1 - abar') * x_0`. With
            "flow_prediction" it is `eps - x_0` of flow matching (arXiv 2210.02747), whose process
            `(1 - sigma) x_0 + sigma eps` then takes the place of betas and rescale.
        flow_shift: with "flow_prediction", above 0: `sigma = shift u / (1 + (shift - 1) u)` for
            `u` from 1 / T to 1 (arXiv 2403.03206, equation 23).
        rescale_betas_zero_snr: shift the betas so that the last timestep is pure noise
            (arXiv 2305.08891, algorithm 1). Not with epsilon prediction, which tells nothing there.

    Raises:
        ValueError: for a value out of range; the message names the argument and the range.
    """

    num_train_timesteps: int = DEFAULT_TRAIN_TIMESTEPS
    beta_start: float = 0.00085
    beta_end: float = 0.012
    trained_betas: tuple[float, ...] | None = None
    rescale_to: float | None = None
    rescale_steps: int = 400
    prediction_type: PredictionType = "epsilon"
    rescale_betas_zero_snr: bool = False
    flow_shift: float = 1.0

    def __post_init__(self) -> None:
        if self.num_train_timesteps < 2:
            raise ValueError(f"num_train_timesteps: at least 2, got {self.num_train_timesteps}")
        if not 0 < self.beta_start <= self.beta_end < 1:
            raise ValueError(
                "beta_start, beta_end: 0 < beta_start <= beta_end < 1, "
                f"got {self.beta_start}, {self.beta_end}"
            )
        if self.trained_betas is not None:
            self._check_betas(self.trained_betas)
        if self.rescale_to is not None and not 0 < self.rescale_to <= 1:
            raise ValueError(f"rescale_to: above 0 and at most 1, or None, got {self.rescale_to}")
        if self.rescale_steps < 2:
            raise ValueError(f"rescale_steps: at least 2, got {self.rescale_steps}")
        if self.prediction_type not in get_args(PredictionType):
            raise ValueError(
                f"prediction_type: one of {', '.join(get_args(PredictionType))}, "
                f"got {self.prediction_type!r}"
            )
        if not self.flow_shift > 0:
            raise ValueError(f"flow_shift: above 0, got {self.flow_shift}")
        if self.is_flow and (self.trained_betas or self.rescale_to or self.rescale_betas_zero_snr):
            raise ValueError(
                "prediction_type: 'flow_prediction' has a process of its own, without "
                "trained_betas, rescale_to and rescale_betas_zero_snr"
            )
        if self.prediction_type == "epsilon" and self.ends_in_pure_noise:
            raise ValueError(
                "prediction_type: 'v_prediction' is needed when the last timestep is pure noise "
                "(rescale_betas_zero_snr, or a last beta of 1), got 'epsilon'"
            )

    @property
    def ends_in_pure_noise(self) -> bool:
        """True if the signal-to-noise ratio of the last timestep is zero."""
        last = self.trained_betas[-1] if self.trained_betas else 0.0
        return self.is_flow or self.rescale_betas_zero_snr or last == 1

    @property
    def is_flow(self) -> bool:
        """True if the network was trained by flow matching."""
        return self.prediction_type == "flow_prediction"

    def _check_betas(self, betas: Sequence[float]) -> None:
        if len(betas) != self.num_train_timesteps:
            raise ValueError(
                f"trained_betas: {self.num_train_timesteps} values (num_train_timesteps), "
                f"got {len(betas)}"
            )
        if not (all(0 < beta < 1 for beta in betas[:-1]) and 0 < betas[-1] <= 1):
            raise ValueError("trained_betas: every value above 0 and below 1 (the last may be 1)")


SCHEDULER_NAMES: tuple[str, ...] = ("ddim-original", *SOLVERS)

SCHEDULER_CLASSES = ("OriginalDDIMScheduler", "SolverScheduler")
"""Names of the classes that model folders record."""

ORIGINAL_PREDICTIONS: tuple[PredictionType, ...] = ("epsilon", "v_prediction")
"""Kinds of networks that "ddim-original" samples."""

MAX_TRAIN_TIMESTEPS = 100_000
"""A model folder that states more timesteps is damaged; published models have 1000."""


def check_name(name: str) -> None:
    """Raise if there is no sampler of this name.

    Raises:
        ValueError: names those there are.
    """
    known = ("ddim-original", *SOLVERS)
    if name not in known:
        raise ValueError(f"name: one of {', '.join(known)}, got {name!r}")


def schedule_arguments(name: str, config: Mapping[str, Any]) -> dict[str, Any]:
    """Pick what a sampler takes over from the configuration of another one.

    Args:
        name: one of `SCHEDULER_NAMES`.
        config: contents of a `scheduler_config.json`.
    """
    known = {field.name for field in fields(NoiseScheduleConfig)}
    if name in SOLVERS and SOLVERS[name].spacing is not None:
        known.add("timestep_spacing")
    return {key: config[key] for key in sorted(known & set(config))}


def check_sampler(name: str, config: Mapping[str, Any]) -> int:
    """Check a sampler for the noise schedule of a model folder.

    Args:
        name: of the sampler.
        config: contents of the folder's `scheduler_config.json`.

    Returns:
        The most steps that it runs, see `most_steps`.

    Raises:
        ValueError: names the setting and what is allowed.
    """
    check_name(name)
    arguments = schedule_arguments(name, config)
    spacing = arguments.pop("timestep_spacing", None)
    if spacing is not None and spacing not in get_args(Spacing):
        raise ValueError(f"timestep_spacing: one of {', '.join(get_args(Spacing))}")
    for key in ("num_train_timesteps", "rescale_steps"):
        value = arguments.get(key, 2)
        if type(value) is not int or not 2 <= value <= MAX_TRAIN_TIMESTEPS:
            raise ValueError(f"{key}: a whole number from 2 to {MAX_TRAIN_TIMESTEPS}")
    betas = arguments.get("trained_betas")
    if betas is not None:
        if not (isinstance(betas, list) and betas and all(map(_is_number, betas))):
            raise ValueError("trained_betas: a list of numbers")
        arguments["trained_betas"] = tuple(betas)
    for key in ("beta_start", "beta_end", "rescale_to", "flow_shift"):
        if not _is_number(arguments.get(key, 0)) and not (
            key == "rescale_to" and not arguments[key]
        ):
            raise ValueError(f"{key}: a number")
    schedule = NoiseScheduleConfig(**arguments)
    check_prediction(name, schedule.prediction_type)
    most = most_steps(name, schedule, spacing)
    if most < 1:
        raise ValueError(f"num_train_timesteps: too few for {name}")
    return most


def most_steps(name: str, schedule: NoiseScheduleConfig, spacing: Spacing | None) -> int:
    """Return the most steps that a sampler runs; 0 where it cannot run at all.

    `ddim-original` knows some lower counts neither, see `original_can_run`.
    """
    total = schedule.num_train_timesteps
    solver = SOLVERS.get(name)
    if solver is None:
        return total
    if solver.max_steps is not None:
        return solver.max_steps if total >= solver.max_steps else 0
    if chosen_spacing(solver, schedule, spacing) == "leading":
        return total - solver.leading_steps_lost
    return total


def chosen_spacing(
    solver: Solver, schedule: NoiseScheduleConfig, spacing: Spacing | None
) -> Spacing | None:
    """Return how a solver places its timesteps; None where it has its own way.

    Args:
        solver: its row.
        schedule: the forward process. A run must not skip a last timestep that is pure noise.
        spacing: what is asked for; None: what suits.
    """
    if solver.spacing is None:
        return None
    return spacing or ("trailing" if schedule.ends_in_pure_noise else solver.spacing)


def check_prediction(name: str, prediction_type: PredictionType) -> None:
    """Raise if a sampler cannot sample networks with this prediction.

    Raises:
        ValueError: names what the sampler takes.
    """
    takes = SOLVERS[name].predictions if name in SOLVERS else ORIGINAL_PREDICTIONS
    if prediction_type not in takes:
        raise ValueError(
            f"prediction_type: {name} takes {' or '.join(takes)}, got {prediction_type!r}"
        )


def original_can_run(steps: int, total: int) -> bool:
    """Return True if the timesteps 1, 1 + c, … stay below the number of training timesteps."""
    if steps > total:
        return False
    stride = total // steps
    return (total - 1) // stride * stride + 1 < total


def nearest_steps(name: str, steps: int, total: int) -> int:
    """Return the number of steps that a sampler can run nearest to the requested one.

    Args:
        name: of the sampler.
        steps: 1 to its most.
        total: timesteps of the schedule.
    """
    if name != "ddim-original":
        return steps
    return min(
        (count for count in range(1, total + 1) if original_can_run(count, total)),
        key=lambda count: (abs(count - steps), -count),
    )


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
