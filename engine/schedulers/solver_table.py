"""The solvers, one row each; nothing here needs a model framework.

A new solver is a new row. What a row can say covers the solvers of diffusers that work on the
variance-preserving process (DPM-Solver++, UniPC, DEIS, ...) or on its sigmas (Euler, Heun, ...).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

Spacing = Literal["leading", "trailing", "log-snr"]
PredictionType = Literal["epsilon", "v_prediction", "flow_prediction"]

LCM_ORIGIN_STEPS = 50
"""Number of steps of the schedule a latent consistency model is distilled on (arXiv 2310.04378)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Solver:
    """One solver.

    Attributes:
        diffusers_class: name of its class in diffusers; None for ddim, which is our own.
        space: latents that the class steps: "vp", of variance 1 at every noise level; "sigma", the
            clean latent and noise of that standard deviation; "lcm", as "vp", but the class draws
            noise that it cannot be given.
        noise: steps use noise never, always, or if `eta` is above 0.
        spacing: default placing of timesteps; None where the solver has its own.
        calls_per_step: calls of the network for one step, but for the last step, which makes one.
        predictions: kinds of networks that the solver can sample.
        max_steps: most steps of a run; None: as many as the schedule has timesteps.
        leading_steps_lost: timesteps that "leading" spacing cannot use as steps.
        options: further arguments of the class.
    """

    diffusers_class: str | None
    space: Literal["vp", "sigma", "lcm"] = "vp"
    noise: Literal["never", "always", "eta"] = "never"
    spacing: Spacing | None = "trailing"
    calls_per_step: int = 1
    predictions: tuple[PredictionType, ...] = ("epsilon", "v_prediction", "flow_prediction")
    max_steps: int | None = None
    leading_steps_lost: int = 1
    options: Mapping[str, Any] = field(default_factory=dict)


SOLVERS: Mapping[str, Solver] = {
    "ddim": Solver(diffusers_class=None, noise="eta", spacing="leading"),
    "dpm++2m": Solver(
        diffusers_class="DPMSolverMultistepScheduler",
        leading_steps_lost=2,  # diffusers: leading steps of T / (steps + 1)
        options={"algorithm_type": "dpmsolver++"},
    ),
    "dpm++sde": Solver(
        diffusers_class="DPMSolverMultistepScheduler",
        noise="always",
        leading_steps_lost=2,
        options={"algorithm_type": "sde-dpmsolver++"},
    ),
    "unipc": Solver(diffusers_class="UniPCMultistepScheduler", leading_steps_lost=2),
    "euler": Solver(diffusers_class="EulerDiscreteScheduler", space="sigma"),
    "lcm": Solver(
        diffusers_class="LCMScheduler",
        space="lcm",
        noise="always",
        spacing=None,
        predictions=("epsilon", "v_prediction"),
        max_steps=LCM_ORIGIN_STEPS,
        options={"clip_sample": False, "original_inference_steps": LCM_ORIGIN_STEPS},
    ),
}
"""Every solver by the name that settings and model folders use."""


def solver_called(name: str) -> Solver:
    """Return the row of a solver.

    Raises:
        ValueError: there is none of that name; names those there are.
    """
    try:
        return SOLVERS[name]
    except KeyError:
        raise ValueError(f"solver: one of {', '.join(SOLVERS)}, got {name!r}") from None
