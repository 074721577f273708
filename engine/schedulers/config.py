"""Names, options and limits of the samplers, known without a model framework.

The catalogue of models uses it, which must list them quickly; the samplers themselves hold to it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any, Literal, get_args

SolverName = Literal["ddim", "dpm++2m", "dpm++sde", "unipc", "euler", "lcm"]
Spacing = Literal["leading", "trailing", "log-snr"]
PredictionType = Literal["epsilon", "v_prediction"]


DEFAULT_TRAIN_TIMESTEPS = 1000


@dataclass(frozen=True, slots=True, kw_only=True)
class NoiseScheduleConfig:
    """Parameters of the forward process.

    Attributes:
        num_train_timesteps: number of timesteps, at least 2.
        beta_start: first beta of a schedule that is linear in ``sqrt(beta)``; in (0, 1).
        beta_end: last beta; in [beta_start, 1).
        trained_betas: explicit betas, each in (0, 1], instead of the two values above.
        rescale_to: final value of ``s_t``, in (0, 1]; None for no rescale.
        rescale_steps: number of timesteps over which ``s_t`` falls, at least 2.
        prediction_type: what the network predicts. The velocity is that of the
            variance-preserving process: ``sqrt(abar') * eps - sqrt(1 - abar') * x_0``.
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
        if self.prediction_type == "epsilon" and self.ends_in_pure_noise:
            raise ValueError(
                "prediction_type: 'v_prediction' is needed when the last timestep is pure noise "
                "(rescale_betas_zero_snr, or a last beta of 1), got 'epsilon'"
            )

    @property
    def ends_in_pure_noise(self) -> bool:
        """True if the signal-to-noise ratio of the last timestep is zero."""
        last = self.trained_betas[-1] if self.trained_betas else 0.0
        return self.rescale_betas_zero_snr or last == 1

    def _check_betas(self, betas: Sequence[float]) -> None:
        if len(betas) != self.num_train_timesteps:
            raise ValueError(
                f"trained_betas: {self.num_train_timesteps} values (num_train_timesteps), "
                f"got {len(betas)}"
            )
        if not (all(0 < beta < 1 for beta in betas[:-1]) and 0 < betas[-1] <= 1):
            raise ValueError("trained_betas: every value above 0 and below 1 (the last may be 1)")


SCHEDULER_NAMES: tuple[str, ...] = ("ddim-original", *get_args(SolverName))

SCHEDULER_CLASSES = ("OriginalDDIMScheduler", "SolverScheduler")
"""Names of the classes that model folders record."""

LCM_ORIGIN_STEPS = 50
"""Number of steps of the schedule a latent consistency model is distilled on (arXiv 2310.04378)."""

MAX_TRAIN_TIMESTEPS = 100_000
"""A model folder that states more timesteps is damaged; published models have 1000."""

_PLACES_ITS_TIMESTEPS_ITSELF = ("ddim-original", "lcm")
_DIVIDES_ONE_MORE = ("dpm++2m", "dpm++sde", "unipc")  # diffusers: leading steps of T / (steps + 1)


def schedule_arguments(name: str, config: Mapping[str, Any]) -> dict[str, Any]:
    """Pick what a sampler takes over from the configuration of another one.

    Args:
        name: one of `SCHEDULER_NAMES`.
        config: contents of a ``scheduler_config.json``.
    """
    known = {field.name for field in fields(NoiseScheduleConfig)}
    if name not in _PLACES_ITS_TIMESTEPS_ITSELF:
        known.add("timestep_spacing")
    return {key: config[key] for key in sorted(known & set(config))}


def check_sampler(name: str, config: Mapping[str, Any]) -> int:
    """Check a sampler for the noise schedule of a model folder.

    Args:
        name: of the sampler.
        config: contents of the folder's ``scheduler_config.json``.

    Returns:
        The most steps that it runs, see `most_steps`.

    Raises:
        ValueError: names the setting and what is allowed.
    """
    if name not in SCHEDULER_NAMES:
        raise ValueError(f"name: one of {', '.join(SCHEDULER_NAMES)}, got {name!r}")
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
    for key in ("beta_start", "beta_end", "rescale_to"):
        if not _is_number(arguments.get(key, 0)) and not (
            key == "rescale_to" and not arguments[key]
        ):
            raise ValueError(f"{key}: a number")
    schedule = NoiseScheduleConfig(**arguments)
    most = most_steps(name, schedule, spacing)
    if most < 1:
        raise ValueError(f"num_train_timesteps: too few for {name}")
    return most


def most_steps(name: str, schedule: NoiseScheduleConfig, spacing: Spacing | None) -> int:
    """Return the most steps that a sampler runs; 0 where it cannot run at all.

    `ddim-original` knows some lower counts neither, see `original_can_run`.
    """
    total = schedule.num_train_timesteps
    if name == "lcm":
        return LCM_ORIGIN_STEPS if total >= LCM_ORIGIN_STEPS else 0
    if spacing is None and name == "ddim" and not schedule.ends_in_pure_noise:
        spacing = "leading"
    if spacing == "leading":
        return total - (2 if name in _DIVIDES_ONE_MORE else 1)
    return total


def original_can_run(steps: int, total: int) -> bool:
    """Return True if the timesteps 1, 1 + c, … stay below the number of training timesteps."""
    if steps > total:
        return False
    stride = total // steps
    return (total - 1) // stride * stride + 1 < total


def nearest_steps(name: str, steps: int, total: int) -> int:
    """Return the number of steps that a sampler runs and that is next to the one that is wished.

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
