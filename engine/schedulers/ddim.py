"""DDIM (arXiv 2010.02502) between any two noise levels of a variance-preserving process.

That of diffusers goes down by one stride whatever the timesteps are. Where the steps do not divide
the schedule, its latent is soon at another noise level than the timestep says.
"""

from __future__ import annotations

from math import sqrt

from torch import Tensor


def ddim_step(
    original: Tensor,
    direction: Tensor,
    *,
    alpha: float,
    alpha_next: float,
    eta: float,
    noise: Tensor | None,
) -> Tensor:
    """Mix the predicted clean latent and the predicted noise at the next noise level.

    Args:
        original: predicted clean latent.
        direction: predicted unit noise, of the same shape.
        alpha: `abar'` that the step starts from.
        alpha_next: `abar'` that it leads to, larger.
        eta: 0 for a deterministic step, 1 for the full variance of the reverse process.
        noise: unit noise; None is none.
    """
    sigma = eta * sqrt((1 - alpha_next) / (1 - alpha) * (1 - alpha / alpha_next))
    towards = sqrt(max(1 - alpha_next - sigma**2, 0.0))
    mixed = sqrt(alpha_next) * original + towards * direction
    return mixed if noise is None else mixed + sigma * noise
