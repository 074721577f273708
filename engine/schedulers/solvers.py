"""Standard solvers for rescaled models: DDIM, and those of diffusers.

The solvers are written for variance-preserving processes. `SolverScheduler` gives them the betas of
`x'_t = x_t / c_t` (see `noise_schedule`) and translates the sample on the way in and out, so that
outside the latent stays the `x_t` of the network.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from math import sqrt
from typing import get_args

import torch
from diffusers.configuration_utils import register_to_config
from torch import Tensor

from engine.schedulers.adapters import DiffusersSolver, SolverCall
from engine.schedulers.base import Predict, SchedulerStep, VideoScheduler, check_eta
from engine.schedulers.config import NoiseScheduleConfig, check_prediction, chosen_spacing
from engine.schedulers.ddim import ddim_step
from engine.schedulers.noise import Generators, step_noise
from engine.schedulers.solver_table import PredictionType, Spacing, solver_called
from engine.schedulers.spacing import even_timesteps, log_snr_timesteps


class SolverScheduler(VideoScheduler):
    """DDIM, or a solver of diffusers, behind the interface of this package.

    Args:
        solver: name of a row of `solver_table.SOLVERS`: "ddim" (arXiv 2010.02502), "dpm++2m"
            (second-order DPM-Solver++, arXiv 2211.01095), "dpm++sde" (its stochastic form), "unipc"
            (arXiv 2302.04867), "euler" or "lcm" (for distilled models).
        timestep_spacing: "leading" begins below the last timestep and counts 1, 1 + c, …, ending
            at `abar_0` with ddim, as the original does; where `c` is no whole number, ddim
            spreads the timesteps evenly, and the others may begin far below the last one.
            "trailing" begins at the very last timestep and ends at the clean latent. "log-snr" does
            so, too, in even steps of the signal-to-noise ratio's logarithm: many at the ends, which
            a schedule needs that begins with pure noise. None: "trailing" if the last timestep is
            pure noise, which a run must not skip, else what suits the solver. Not for lcm, which
            has its own.

    The other arguments are those of `NoiseScheduleConfig`.

    Raises:
        ValueError: unknown solver or spacing, a prediction that the solver does not take, or a
            value that `NoiseScheduleConfig` refuses.
    """

    # What model folders record: independent of how the files of this package are cut.
    __module__ = "engine.schedulers"

    @register_to_config
    def __init__(
        self,
        solver: str = "dpm++2m",
        num_train_timesteps: int = 1000,
        beta_start: float = 0.00085,
        beta_end: float = 0.012,
        trained_betas: Sequence[float] | None = None,
        rescale_to: float | None = None,
        rescale_steps: int = 400,
        prediction_type: PredictionType = "epsilon",
        timestep_spacing: Spacing | None = None,
        rescale_betas_zero_snr: bool = False,
        flow_shift: float = 1.0,
    ) -> None:
        row = solver_called(solver)
        if timestep_spacing is not None and timestep_spacing not in get_args(Spacing):
            raise ValueError(
                f"timestep_spacing: one of {', '.join(get_args(Spacing))}, got {timestep_spacing!r}"
            )
        if timestep_spacing is not None and row.spacing is None:
            raise ValueError(f"timestep_spacing: {solver} places its timesteps itself")
        config = NoiseScheduleConfig(
            num_train_timesteps=num_train_timesteps,
            beta_start=beta_start,
            beta_end=beta_end,
            trained_betas=None if trained_betas is None else tuple(trained_betas),
            rescale_to=rescale_to,
            rescale_steps=rescale_steps,
            prediction_type=prediction_type,
            rescale_betas_zero_snr=rescale_betas_zero_snr,
            flow_shift=flow_shift,
        )
        check_prediction(solver, config.prediction_type)
        self._prepare(config)
        self.order = row.calls_per_step
        self._name = solver
        self._solver = row
        self._spacing = chosen_spacing(row, config, timestep_spacing)
        self._inner: DiffusersSolver | None = None
        if row.diffusers_class is not None:
            self._inner = DiffusersSolver(row, config, self.schedule, self._spacing)

    def set_timesteps(
        self, num_inference_steps: int, device: torch.device | str | None = None
    ) -> None:
        """Begin a run of exactly that many steps."""
        self._check_steps(num_inference_steps, self._solver.max_steps or len(self))
        timesteps = self._place(num_inference_steps)
        descending = all(a > b for a, b in pairwise(timesteps))
        if not descending or timesteps[0] >= len(self) or len(timesteps) != num_inference_steps:
            raise ValueError(
                f"num_inference_steps: {num_inference_steps} steps do not fit into "
                f"{len(self)} timesteps with this solver and spacing; ask for fewer"
            )
        self._begin(timesteps, device)

    def _place(self, steps: int) -> list[int]:
        """Choose the timesteps of a run, and tell them to the solver of diffusers."""
        chosen = None if self._inner is None else self._inner.set_timesteps(steps)
        if self._spacing == "log-snr":
            timesteps = log_snr_timesteps(self.schedule.alphas_cumprod_vp, steps)
            if self._inner is not None:
                self._inner.set_custom_timesteps(timesteps)
            return timesteps
        if chosen is None:
            return even_timesteps(len(self), steps, trailing=self._spacing == "trailing")
        return chosen

    def is_stochastic(self, eta: float) -> bool:
        """Return True if the solver draws noise; only ddim takes an `eta` above 0."""
        check_eta(eta)
        if self._solver.noise != "eta" and eta > 0:
            raise ValueError(
                f"eta: must be 0 with {self._name}, which has no such parameter, got {eta}"
            )
        return self._solver.noise == "always" or eta > 0

    def step(
        self,
        model_output: Tensor,
        timestep: int | Tensor,
        sample: Tensor,
        eta: float = 0.0,
        generator: Generators | None = None,
        variance_noise: Tensor | None = None,
        predict: Predict | None = None,
    ) -> SchedulerStep:
        """Make one step of the solver; see the base class for the arguments."""
        position = self._position(timestep)
        self._check_order(position)
        noise = None
        if self.is_stochastic(eta):
            noise = step_noise(sample, generator, variance_noise)
        original = self.predict_original(model_output, int(timestep), sample)
        if self._inner is None:
            prev_normed = ddim_step(
                original,
                self.predict_noise(model_output, int(timestep), sample),
                alpha=float(self.schedule.alphas_cumprod_vp[int(timestep)]),
                alpha_next=self._ddim_target(position),
                eta=eta,
                noise=noise,
            )
        else:
            prev_normed = self._inner.step(
                SolverCall(
                    position=position,
                    prediction=self._standard(model_output, int(timestep), sample),
                    sample=sample / float(self.schedule.norm[int(timestep)]),
                    noise=noise,
                    predict=self._predict_normed(predict),
                )
            )
        prev_sample = prev_normed * self._norm_after(position)
        return SchedulerStep(prev_sample=prev_sample, pred_original_sample=original)

    def _standard(self, model_output: Tensor, timestep: int, sample: Tensor) -> Tensor:
        """Return a prediction as one of those that the solvers of diffusers know."""
        if self.prediction_type != "flow_prediction":
            return model_output
        alpha = float(self.schedule.alphas_cumprod_vp[timestep])
        original = self.predict_original(model_output, timestep, sample)
        noise = self.predict_noise(model_output, timestep, sample)
        return sqrt(alpha) * noise - sqrt(1 - alpha) * original

    def _predict_normed(self, predict: Predict | None) -> Predict:
        """Return the network as a function of latents of variance 1."""
        if predict is None and self.order > 1:
            raise ValueError(
                f"predict: {self._name} calls the network {self.order} times for a step; give it"
            )

        def predict_normed(normed: Tensor, timestep: int) -> Tensor:
            assert predict is not None
            sample = normed * float(self.schedule.norm[timestep])
            return self._standard(predict(sample, timestep), timestep, sample)

        return predict_normed

    def _check_order(self, position: int) -> None:
        """Raise if a step is out of turn: solvers of diffusers count their own steps."""
        done = None if self._inner is None else self._inner.steps_done
        if done is None or done == position:
            return
        given = int(self.timesteps[position])
        if done == len(self.timesteps):
            raise ValueError(
                f"timestep: this run is over, got {given}; call set_timesteps before another run"
            )
        raise ValueError(
            f"timestep: {int(self.timesteps[done])} comes next with {self._name}, got {given}; "
            "call set_timesteps before another run"
        )

    def _ddim_target(self, position: int) -> float:
        """`abar'` of the latent that the step of ddim at this position leads to."""
        alphas = self.schedule.alphas_cumprod_vp
        if position + 1 < len(self.timesteps):
            return float(alphas[int(self.timesteps[position + 1])])
        return float(alphas[0]) if self._spacing == "leading" else 1.0

    def _norm_after(self, position: int) -> float:
        """`c` of the latent that the step at this position leads to."""
        if position + 1 == len(self.timesteps):
            return 1.0
        return float(self.schedule.norm[int(self.timesteps[position + 1])])
