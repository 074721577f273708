"""Standard solvers for rescaled models: DDIM, and those of diffusers.

The solvers are written for variance-preserving processes. `SolverScheduler` gives them the betas of
``x'_t = x_t / c_t`` (see `noise_schedule`) and translates the sample on the way in and out, so that
outside the latent stays the ``x_t`` of the network.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from math import sqrt
from types import MappingProxyType
from typing import Any, Literal, get_args

import torch
from diffusers.configuration_utils import register_to_config
from diffusers.schedulers.scheduling_dpmsolver_multistep import DPMSolverMultistepScheduler
from diffusers.schedulers.scheduling_euler_discrete import EulerDiscreteScheduler
from diffusers.schedulers.scheduling_lcm import LCMScheduler
from diffusers.schedulers.scheduling_unipc_multistep import UniPCMultistepScheduler
from torch import Tensor

from engine.schedulers.base import SchedulerStep, VideoScheduler, check_eta
from engine.schedulers.config import (
    LCM_ORIGIN_STEPS,
    NoiseScheduleConfig,
    PredictionType,
    SolverName,
    Spacing,
)
from engine.schedulers.ddim import ddim_step
from engine.schedulers.noise import Generators, step_noise
from engine.schedulers.spacing import even_timesteps, log_snr_timesteps


@dataclass(frozen=True, slots=True)
class _Solver:
    """How one solver is built and called.

    Attributes:
        build: its class in diffusers; None for the one that is made here.
        noise: when a step uses noise: never, always, or if eta is above 0.
        spacing: the usual placing of timesteps; None where the solver has its own.
        options: further arguments of the class.
    """

    build: Callable[..., Any] | None
    noise: Literal["never", "always", "eta"]
    spacing: Spacing | None
    options: Mapping[str, Any] = field(default_factory=dict)


_SOLVERS: Mapping[SolverName, _Solver] = MappingProxyType(
    {
        "ddim": _Solver(None, "eta", "leading"),
        "dpm++2m": _Solver(
            DPMSolverMultistepScheduler, "never", "trailing", {"algorithm_type": "dpmsolver++"}
        ),
        "dpm++sde": _Solver(
            DPMSolverMultistepScheduler, "always", "trailing", {"algorithm_type": "sde-dpmsolver++"}
        ),
        "unipc": _Solver(UniPCMultistepScheduler, "never", "trailing"),
        "euler": _Solver(EulerDiscreteScheduler, "never", "trailing"),
        "lcm": _Solver(
            LCMScheduler,
            "always",
            None,
            {"clip_sample": False, "original_inference_steps": LCM_ORIGIN_STEPS},
        ),
    }
)


class SolverScheduler(VideoScheduler):
    """DDIM, or a solver of diffusers, behind the interface of this package.

    Args:
        solver: "ddim" (arXiv 2010.02502), "dpm++2m" (second-order DPM-Solver++, arXiv 2211.01095),
            "dpm++sde" (its stochastic form), "unipc" (arXiv 2302.04867), "euler" or "lcm" (for
            distilled models).
        timestep_spacing: "leading" begins below the last timestep and counts 1, 1 + c, …, ending
            at ``abar_0`` with ddim, as the original does; where ``c`` is no whole number, ddim
            spreads the timesteps evenly, and the others may begin far below the last one.
            "trailing" begins at the very last timestep and ends at the clean latent. "log-snr" does
            so, too, in even steps of the signal-to-noise ratio's logarithm: many at the ends, which
            a schedule needs that begins with pure noise. None: "trailing" if the last timestep is
            pure noise, which a run must not skip, else what suits the solver. Not for lcm, which
            has its own.

    The other arguments are those of `NoiseScheduleConfig`.

    Raises:
        ValueError: unknown solver or spacing, or a value that `NoiseScheduleConfig` refuses.
    """

    # What model folders record: independent of how the files of this package are cut.
    __module__ = "engine.schedulers"

    @register_to_config
    def __init__(
        self,
        solver: SolverName = "dpm++2m",
        num_train_timesteps: int = 1000,
        beta_start: float = 0.00085,
        beta_end: float = 0.012,
        trained_betas: Sequence[float] | None = None,
        rescale_to: float | None = None,
        rescale_steps: int = 400,
        prediction_type: PredictionType = "epsilon",
        timestep_spacing: Spacing | None = None,
        rescale_betas_zero_snr: bool = False,
    ) -> None:
        if solver not in _SOLVERS:
            raise ValueError(f"solver: one of {', '.join(_SOLVERS)}, got {solver!r}")
        if timestep_spacing is not None and timestep_spacing not in get_args(Spacing):
            raise ValueError(
                f"timestep_spacing: one of {', '.join(get_args(Spacing))}, got {timestep_spacing!r}"
            )
        if timestep_spacing is not None and _SOLVERS[solver].spacing is None:
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
        )
        self._prepare(config)
        self._name = solver
        self._solver = _SOLVERS[solver]
        self._spacing = self._chosen_spacing(config, timestep_spacing)
        self._inner: Any = None if self._solver.build is None else self._build(config)

    def set_timesteps(
        self, num_inference_steps: int, device: torch.device | str | None = None
    ) -> None:
        """Begin a run of exactly that many steps."""
        most = LCM_ORIGIN_STEPS if self._solver.build is LCMScheduler else len(self)
        self._check_steps(num_inference_steps, most)
        timesteps = self._place(num_inference_steps)
        descending = all(a > b for a, b in pairwise(timesteps))
        if not descending or timesteps[0] >= len(self) or len(timesteps) != num_inference_steps:
            raise ValueError(
                f"num_inference_steps: {num_inference_steps} steps do not fit into "
                f"{len(self)} timesteps with this solver and spacing; ask for fewer"
            )
        self._begin(timesteps, device)

    def _place(self, steps: int) -> list[int]:
        """The timesteps of a run; tells them to the solver of diffusers."""
        if self._inner is not None:
            self._inner.set_timesteps(steps)
            _fix_trailing_rounding(self._inner, steps)
        if self._spacing == "log-snr":
            timesteps = log_snr_timesteps(self.schedule.alphas_cumprod_vp, steps)
            if self._inner is not None:
                _set_custom_timesteps(self._inner, timesteps)
            return timesteps
        if self._inner is None:
            return even_timesteps(len(self), steps, trailing=self._spacing == "trailing")
        return [int(t) for t in self._inner.timesteps]

    def is_stochastic(self, eta: float) -> bool:
        """Return True if the solver draws noise; only ddim takes an ``eta`` above 0."""
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
    ) -> SchedulerStep:
        """One step of the solver; see the base class for the arguments."""
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
            normed = sample / float(self.schedule.norm[int(timestep)])
            prev_normed = self._solve(model_output, position, normed, noise)
        prev_sample = prev_normed * self._norm_after(position)
        return SchedulerStep(prev_sample=prev_sample, pred_original_sample=original)

    def _check_order(self, position: int) -> None:
        """Refuse a step out of turn, which a solver of diffusers, counting its own, would spoil."""
        done = None if self._inner is None else self._inner.step_index
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
        """``abar'`` of the latent that the step of ddim at this position leads to."""
        alphas = self.schedule.alphas_cumprod_vp
        if position + 1 < len(self.timesteps):
            return float(alphas[int(self.timesteps[position + 1])])
        return float(alphas[0]) if self._spacing == "leading" else 1.0

    def _solve(
        self, model_output: Tensor, position: int, normed: Tensor, noise: Tensor | None
    ) -> Tensor:
        """Let the solver of diffusers make its step from ``x'`` to the next ``x'``."""
        inner = self._inner
        t = inner.timesteps[position]
        if isinstance(inner, EulerDiscreteScheduler):
            # Its sample is x' times sqrt(sigma^2 + 1), so that noise of sigma is simply added.
            spread = (inner.sigmas**2 + 1).sqrt()
            inner.scale_model_input(normed, t)
            after: Tensor = inner.step(model_output, t, normed * spread[position]).prev_sample
            return after / float(spread[position + 1])
        if isinstance(inner, LCMScheduler):
            return self._solve_lcm(model_output, position, normed, noise)
        if noise is not None:
            step = inner.step(model_output, t, normed, variance_noise=noise)
        else:
            step = inner.step(model_output, t, normed)
        stepped: Tensor = step.prev_sample
        return stepped

    def _solve_lcm(
        self, model_output: Tensor, position: int, normed: Tensor, noise: Tensor | None
    ) -> Tensor:
        """LCM of diffusers takes no noise tensor, so its renoising is done here."""
        unused = torch.Generator().manual_seed(0)  # keeps the default generator untouched
        t = int(self._inner.timesteps[position])
        denoised: Tensor = self._inner.step(model_output, t, normed, generator=unused).denoised
        if position + 1 == len(self.timesteps) or noise is None:
            return denoised
        alpha = float(self._inner.alphas_cumprod[int(self._inner.timesteps[position + 1])])
        return sqrt(alpha) * denoised + sqrt(1 - alpha) * noise

    def _norm_after(self, position: int) -> float:
        """``c`` of the latent that the step at this position leads to."""
        if position + 1 == len(self.timesteps):
            return 1.0
        return float(self.schedule.norm[int(self.timesteps[position + 1])])

    def _chosen_spacing(
        self, config: NoiseScheduleConfig, spacing: Spacing | None
    ) -> Spacing | None:
        if self._solver.spacing is None:
            return None
        return spacing or ("trailing" if config.ends_in_pure_noise else self._solver.spacing)

    def _build(self, config: NoiseScheduleConfig) -> Any:
        """The solver of diffusers for the variance-preserving process."""
        assert self._solver.build is not None
        options: dict[str, Any] = dict(self._solver.options)
        if self._spacing is not None:
            leading = self._spacing == "leading"
            options["timestep_spacing"] = "leading" if leading else "trailing"
            options["steps_offset"] = 1 if leading else 0
        return self._solver.build(
            num_train_timesteps=config.num_train_timesteps,
            trained_betas=self.schedule.betas_vp.tolist(),
            prediction_type=config.prediction_type,
            rescale_betas_zero_snr=config.ends_in_pure_noise,
            **options,
        )


def _fix_trailing_rounding(inner: Any, num_inference_steps: int) -> None:
    """Remove the extra timestep -1 that diffusers' "trailing" adds for some counts (61 of 1000)."""
    if len(inner.timesteps) == num_inference_steps + 1 and int(inner.timesteps[-1]) < 0:
        inner.timesteps = inner.timesteps[:-1]
        inner.num_inference_steps = num_inference_steps
        if hasattr(inner, "sigmas"):
            inner.sigmas = torch.cat([inner.sigmas[:-2], inner.sigmas[-1:]])


def _set_custom_timesteps(inner: Any, timesteps: Sequence[int]) -> None:
    """Give a solver of diffusers, which has begun a run, other timesteps of the same number."""
    alphas = inner.alphas_cumprod[list(timesteps)].double()
    sigmas = ((1 - alphas) / alphas).sqrt()
    inner.timesteps = torch.tensor(timesteps, dtype=inner.timesteps.dtype)
    inner.sigmas = torch.cat([sigmas, sigmas.new_zeros(1)]).to(inner.sigmas.dtype)
