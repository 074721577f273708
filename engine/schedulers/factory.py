"""Schedulers by name."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from engine.schedulers.base import VideoScheduler
from engine.schedulers.config import check_name, schedule_arguments
from engine.schedulers.original_ddim import OriginalDDIMScheduler
from engine.schedulers.solver_table import PredictionType, Spacing
from engine.schedulers.solvers import SolverScheduler


def make_scheduler(
    name: str,
    rescale_to: float | None = None,
    *,
    num_train_timesteps: int = 1000,
    beta_start: float = 0.00085,
    beta_end: float = 0.012,
    trained_betas: Sequence[float] | None = None,
    rescale_steps: int = 400,
    prediction_type: PredictionType = "epsilon",
    timestep_spacing: Spacing | None = None,
    rescale_betas_zero_snr: bool = False,
    flow_shift: float = 1.0,
) -> VideoScheduler:
    """Build a scheduler.

    Args:
        name: "ddim-original" (the sampler of the public VideoCrafter code, see
            `OriginalDDIMScheduler`) or one of the solvers in `solver_table.SOLVERS`.
        rescale_to: final value of the clean latent's rescale, in (0, 1]; None for no rescale.
        num_train_timesteps: timesteps of the forward process, at least 2.
        beta_start: first beta, in (0, 1).
        beta_end: last beta, in [beta_start, 1).
        trained_betas: explicit betas instead, each in (0, 1].
        rescale_steps: timesteps over which the rescale falls, at least 2.
        prediction_type: "epsilon", "v_prediction" or "flow_prediction", see `NoiseScheduleConfig`.
        timestep_spacing: "leading", "trailing", "log-snr" or None, see `SolverScheduler`; not with
            "ddim-original" and "lcm".
        rescale_betas_zero_snr: make the last timestep pure noise; with v-prediction only.
        flow_shift: shift of the noise levels; with flow prediction only.

    Raises:
        ValueError: unknown name, or a value out of range.
    """
    check_name(name)
    if name == "ddim-original" and timestep_spacing is not None:
        raise ValueError("timestep_spacing: ddim-original has its own; use 'ddim' to choose")
    betas = None if trained_betas is None else [float(beta) for beta in trained_betas]
    scheduler: VideoScheduler
    if name == "ddim-original":
        scheduler = OriginalDDIMScheduler(
            num_train_timesteps=num_train_timesteps,
            beta_start=beta_start,
            beta_end=beta_end,
            trained_betas=betas,
            rescale_to=rescale_to,
            rescale_steps=rescale_steps,
            prediction_type=prediction_type,
            rescale_betas_zero_snr=rescale_betas_zero_snr,
        )
    else:
        scheduler = SolverScheduler(
            solver=name,
            num_train_timesteps=num_train_timesteps,
            beta_start=beta_start,
            beta_end=beta_end,
            trained_betas=betas,
            rescale_to=rescale_to,
            rescale_steps=rescale_steps,
            prediction_type=prediction_type,
            timestep_spacing=timestep_spacing,
            rescale_betas_zero_snr=rescale_betas_zero_snr,
            flow_shift=flow_shift,
        )
    return scheduler


def scheduler_from_config(name: str, config: Mapping[str, Any]) -> VideoScheduler:
    """Build a scheduler for the noise schedule of another one.

    What a network was trained with is the schedule; by which of the solvers it is sampled is a
    choice, and any of them serves any configuration that one of them has written.

    Args:
        name: as for `make_scheduler`.
        config: `config` of a scheduler of this package, or the contents of its
            `scheduler_config.json`. The placing of the timesteps is kept where `name` leaves a
            choice; whatever else belongs to the one solver alone is not read.

    Raises:
        ValueError: unknown name, or a value out of range.
        TypeError: a value of a wrong kind.
    """
    return make_scheduler(name, **schedule_arguments(name, config))
