"""The forward diffusion process: how much clean latent and how much noise at each timestep.

``x_t = sqrt(abar_t) * s_t * x_0 + sqrt(1 - abar_t) * eps``

``s_t`` is the rescale of VideoCrafter1 (arXiv 2310.19512): it falls linearly from 1 to a smaller
value over the first timesteps and stays there; without rescale it is 1 everywhere.

Dividing ``x_t`` by ``c_t = sqrt(abar_t * s_t**2 + 1 - abar_t)`` gives a variance-preserving process
with ``abar'_t = abar_t * s_t**2 / c_t**2``, for which every standard solver is written.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import torch
from torch import Tensor

PredictionType = Literal["epsilon", "v_prediction"]


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

    num_train_timesteps: int = 1000
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
        """Whether the signal-to-noise ratio of the last timestep is zero."""
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


@dataclass(frozen=True, slots=True)
class NoiseSchedule:
    """Per-timestep values of the forward process, float64 on the CPU, each ``[T]``.

    Attributes:
        alphas_cumprod: ``abar_t``, the variance of the clean part before the rescale.
        scale: ``s_t``, the rescale of the clean part.
    """

    alphas_cumprod: Tensor
    scale: Tensor

    @classmethod
    def from_config(cls, config: NoiseScheduleConfig) -> "NoiseSchedule":
        """Compute the schedule that a validated configuration describes."""
        count = config.num_train_timesteps
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
        """``c_t``: standard deviation of ``x_t`` for clean latents of unit variance."""
        return (self.alphas_cumprod * self.scale**2 + 1 - self.alphas_cumprod).sqrt()

    @property
    def alphas_cumprod_vp(self) -> Tensor:
        """``abar'_t`` of the variance-preserving process ``x_t / c_t``."""
        return self.alphas_cumprod * self.scale**2 / self.norm**2

    @property
    def betas_vp(self) -> Tensor:
        """Betas of the variance-preserving process ``x_t / c_t``."""
        alphas_cumprod = self.alphas_cumprod_vp
        previous = torch.cat([torch.ones(1, dtype=torch.float64), alphas_cumprod[:-1]])
        return 1 - alphas_cumprod / previous


def _with_zero_terminal_snr(alphas_cumprod: Tensor) -> Tensor:
    """Shift and stretch ``sqrt(abar)`` so that it ends at 0 and begins where it did."""
    roots = alphas_cumprod.sqrt()
    first, last = roots[0], roots[-1]
    return ((roots - last) * first / (first - last)) ** 2
