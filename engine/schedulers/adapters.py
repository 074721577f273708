"""Solvers of diffusers as steps between latents of variance 1.

The solvers of diffusers count their own steps and keep what they need of earlier ones; an adapter
belongs to one run at a time.
"""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from dataclasses import dataclass
from math import sqrt
from typing import Any

import diffusers
import torch
from torch import Tensor

from engine.schedulers.base import Predict
from engine.schedulers.config import NoiseScheduleConfig
from engine.schedulers.noise_schedule import NoiseSchedule
from engine.schedulers.solver_table import Solver, Spacing
from engine.schedulers.spacing import LEAST_ALPHA


@dataclass(frozen=True, slots=True, kw_only=True)
class SolverCall:
    """One step that is asked of a solver; latents have variance 1.

    Attributes:
        position: of the step in the run.
        prediction: of the network for the sample.
        sample: the latents.
        noise: unit noise of the step; None is none.
        predict: the network, for further calls.
    """

    position: int
    prediction: Tensor
    sample: Tensor
    noise: Tensor | None
    predict: Predict


class DiffusersSolver:
    """A solver of diffusers for the variance-preserving process of a schedule.

    Args:
        solver: its row; names a class.
        config: the forward process.
        schedule: the same, computed.
        spacing: placing of timesteps; None where the solver has its own.
    """

    def __init__(
        self,
        solver: Solver,
        config: NoiseScheduleConfig,
        schedule: NoiseSchedule,
        spacing: Spacing | None,
    ) -> None:
        assert solver.diffusers_class is not None
        build = getattr(diffusers, solver.diffusers_class)
        options: dict[str, Any] = dict(solver.options)
        if spacing is not None:
            leading = spacing == "leading"
            options["timestep_spacing"] = "leading" if leading else "trailing"
            options["steps_offset"] = 1 if leading else 0
        if "rescale_betas_zero_snr" in inspect.signature(build).parameters:
            options["rescale_betas_zero_snr"] = config.ends_in_pure_noise
        self._calls = solver.calls_per_step
        self._step = {"vp": self._step_vp, "sigma": self._step_sigma, "lcm": self._step_lcm}[
            solver.space
        ]
        self._inner: Any = build(
            num_train_timesteps=config.num_train_timesteps,
            trained_betas=schedule.betas_vp.tolist(),
            # Flow prediction comes as the velocity of the variance-preserving process.
            prediction_type="epsilon" if config.prediction_type == "epsilon" else "v_prediction",
            **options,
        )
        if config.ends_in_pure_noise:  # as the classes do that have an option for it
            self._inner.alphas_cumprod[-1] = LEAST_ALPHA

    @property
    def steps_done(self) -> int | None:
        """Steps of this run that are done; None before the first."""
        calls: int | None = self._inner.step_index
        return None if calls is None else -(-calls // self._calls)

    def set_timesteps(self, steps: int) -> list[int]:
        """Begin a run; returns the timesteps that the solver of diffusers chooses."""
        self._inner.set_timesteps(steps)
        self._fix_trailing_rounding(steps)
        return [int(t) for t in self._inner.timesteps[:: self._calls]]

    def set_custom_timesteps(self, timesteps: Sequence[int]) -> None:
        """Move a run that has begun to other timesteps of the same number."""
        inner = self._inner
        alphas = inner.alphas_cumprod[list(timesteps)].double()
        sigmas = ((1 - alphas) / alphas).sqrt()
        moved = torch.tensor(timesteps, dtype=inner.timesteps.dtype)
        inner.timesteps = self._for_each_call(moved)
        inner.sigmas = torch.cat([self._for_each_call(sigmas), sigmas.new_zeros(1)])
        inner.sigmas = inner.sigmas.to(torch.float32)

    def step(self, call: SolverCall) -> Tensor:
        """Make one step; returns latents of variance 1."""
        return self._step(call)

    def _step_vp(self, call: SolverCall) -> Tensor:
        more = {} if call.noise is None else {"variance_noise": call.noise}
        t = self._inner.timesteps[call.position]
        stepped: Tensor = self._inner.step(call.prediction, t, call.sample, **more).prev_sample
        return stepped

    def _step_sigma(self, call: SolverCall) -> Tensor:
        """Step `x' sqrt(sigma^2 + 1)`, to which noise of sigma is simply added."""
        inner, first = self._inner, call.position * self._calls
        spread = (inner.sigmas**2 + 1).sqrt()
        inner.scale_model_input(call.sample, inner.timesteps[first])
        stretched: Tensor = call.sample * spread[first]
        stretched = inner.step(call.prediction, inner.timesteps[first], stretched).prev_sample
        for index in range(first + 1, min(first + self._calls, len(inner.timesteps))):
            t = inner.timesteps[index]
            prediction = call.predict(stretched / float(spread[index]), int(t))
            stretched = inner.step(prediction, t, stretched).prev_sample
        return stretched / float(spread[first + 1])

    def _step_lcm(self, call: SolverCall) -> Tensor:
        """LCM of diffusers takes no noise tensor, so its renoising is done here."""
        inner = self._inner
        unused = torch.Generator().manual_seed(0)  # keeps the default generator untouched
        t, following = int(inner.timesteps[call.position]), call.position + 1
        denoised: Tensor = inner.step(call.prediction, t, call.sample, generator=unused).denoised
        if following == len(inner.timesteps) or call.noise is None:
            return denoised
        alpha = float(inner.alphas_cumprod[int(inner.timesteps[following])])
        return sqrt(alpha) * denoised + sqrt(1 - alpha) * call.noise

    def _for_each_call(self, values: Tensor) -> Tensor:
        """Repeat the values of all steps but the first, as solvers of several calls want them."""
        return torch.cat([values[:1], values[1:].repeat_interleave(self._calls)])

    def _fix_trailing_rounding(self, steps: int) -> None:
        """Remove the timestep -1 that diffusers' "trailing" adds for some counts (61 of 1000)."""
        inner, calls = self._inner, self._calls
        if len(inner.timesteps) == calls * steps + 1 and int(inner.timesteps[-1]) < 0:
            inner.timesteps = inner.timesteps[:-calls]
            inner.num_inference_steps = steps
            if hasattr(inner, "sigmas"):
                inner.sigmas = torch.cat([inner.sigmas[: -1 - calls], inner.sigmas[-1:]])
