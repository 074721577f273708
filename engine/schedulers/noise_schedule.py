"""The forward diffusion process: how much clean latent and how much noise at each timestep.

`x_t = sqrt(abar_t) * s_t * x_0 + sqrt(1 - abar_t) * eps`

`s_t` is the rescale of VideoCrafter1 (arXiv 2310.19512): it falls linearly from 1 to a smaller
value over the first timesteps and stays there; without rescale it is 1 everywhere.

Dividing `x_t` by `c_t = sqrt(abar_t * s_t**2 + 1 - abar_t)` gives a variance-preserving process
with `abar'_t = abar_t * s_t**2 / c_t**2`, for which every standard solver is written.

Flow matching (arXiv 2210.02747) is such a process, too: `(1 - sigma_t) x_0 + sigma_t eps` has
`abar_t = 1 - sigma_t**2` and `s_t = sqrt((1 - sigma_t) / (1 + sigma_t))`.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from engine.schedulers.config import NoiseScheduleConfig


@dataclass(frozen=True, slots=True)
class NoiseSchedule:
    """Per-timestep values of the forward process, float64 on the CPU, each `[T]`.

    Attributes:
        alphas_cumprod: `abar_t`, the variance of the clean part before the rescale.
        scale: `s_t`, the rescale of the clean part.
    """

    alphas_cumprod: Tensor
    scale: Tensor

    @classmethod
    def from_config(cls, config: NoiseScheduleConfig) -> NoiseSchedule:
        """Compute the schedule that a validated configuration describes."""
        count = config.num_train_timesteps
        if config.is_flow:
            return _flow_matching(count, config.flow_shift)
        if config.trained_betas is not None:
            betas = torch.tensor(config.trained_betas, dtype=torch.float64)
        else:
            roots = torch.linspace(
                config.beta_start**0.5, config.beta_end**0.5, count, dtype=torch.float64
            )
            betas = roots**2
        alphas_cumprod = torch.cumprod(1 - betas, dim=0)
        if config.rescale_betas_zero_snr:
            alphas_cumprod = _with_zero_terminal_snr(alphas_cumprod)
        scale = torch.ones(count, dtype=torch.float64)
        if config.rescale_to is not None:
            scale.fill_(config.rescale_to)
            falling = torch.linspace(
                1, config.rescale_to, config.rescale_steps, dtype=torch.float64
            )
            reach = min(count, config.rescale_steps)
            scale[:reach] = falling[:reach]
        return cls(alphas_cumprod, scale)

    @property
    def norm(self) -> Tensor:
        """`c_t`: standard deviation of `x_t` for clean latents of unit variance."""
        return (self.alphas_cumprod * self.scale**2 + 1 - self.alphas_cumprod).sqrt()

    @property
    def alphas_cumprod_vp(self) -> Tensor:
        """`abar'_t` of the variance-preserving process `x_t / c_t`."""
        return self.alphas_cumprod * self.scale**2 / self.norm**2

    @property
    def betas_vp(self) -> Tensor:
        """Betas of the variance-preserving process `x_t / c_t`."""
        alphas_cumprod = self.alphas_cumprod_vp
        previous = torch.cat([torch.ones(1, dtype=torch.float64), alphas_cumprod[:-1]])
        return 1 - alphas_cumprod / previous


def _flow_matching(count: int, shift: float) -> NoiseSchedule:
    """Write `(1 - sigma) x_0 + sigma eps` in the terms of the forward process."""
    share = torch.arange(1, count + 1, dtype=torch.float64) / count
    sigma = shift * share / (1 + (shift - 1) * share)
    return NoiseSchedule(1 - sigma**2, ((1 - sigma) / (1 + sigma)).sqrt())


def _with_zero_terminal_snr(alphas_cumprod: Tensor) -> Tensor:
    """Shift and stretch `sqrt(abar)` so that it ends at 0 and begins where it did."""
    roots = alphas_cumprod.sqrt()
    first, last = roots[0], roots[-1]
    return ((roots - last) * first / (first - last)) ** 2
