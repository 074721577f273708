"""The noise schedule that a released file carries as buffers.

The scheduler computes its own; the stored values are only compared, so that a file that was trained
with another schedule is refused instead of sampled wrongly.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import torch
from torch import Tensor

from engine.checkpoints.errors import OriginalCheckpointError, listed
from engine.checkpoints.original.config import OriginalConfig
from engine.checkpoints.original.rules import Shape
from engine.schedulers import NoiseSchedule, NoiseScheduleConfig

_TOLERANCE: Final = {torch.float32: 1e-4, torch.float64: 1e-4}
_HALF_TOLERANCE: Final = 1e-2
_LEAST_VARIANCE: Final = 1e-20  # what the released code puts for 0 before it takes the logarithm


def buffer_shapes(config: OriginalConfig) -> dict[str, Shape]:
    """Released name to shape of all schedule buffers."""
    return {name: tuple(values.shape) for name, values in schedule_buffers(config).items()}


def check_schedule(file: str, tensors: Mapping[str, Tensor], config: OriginalConfig) -> None:
    """Refuse a file whose schedule is not that of the configuration.

    Raises:
        OriginalCheckpointError: names the buffers that differ.
    """
    wrong = []
    for name, expected in schedule_buffers(config).items():
        stored = tensors[name]
        tolerance = _TOLERANCE.get(stored.dtype, _HALF_TOLERANCE)
        # Relative, with a floor for what is nearly 0 and lost digits on its way there.
        if not torch.allclose(stored.double(), expected, rtol=tolerance, atol=tolerance * 0.1):
            wrong.append(name)
    if wrong:
        raise OriginalCheckpointError(
            f"The noise schedule in {file} is not that of the configuration; these differ: "
            f"{listed(wrong)}."
        )


def schedule_buffers(config: OriginalConfig) -> dict[str, Tensor]:
    """The buffers that the configuration implies, float64 ``[T]``; ``scale_arr`` may be longer."""
    schedule = NoiseSchedule.from_config(
        NoiseScheduleConfig(
            num_train_timesteps=config.timesteps,
            beta_start=config.linear_start,
            beta_end=config.linear_end,
        )
    )
    total = schedule.alphas_cumprod
    before = torch.cat([torch.ones(1, dtype=torch.float64), total[:-1]])
    alphas = total / before
    betas = 1 - alphas
    variance = betas * (1 - before) / (1 - total)
    buffers = {
        "betas": betas,
        "alphas_cumprod": total,
        "alphas_cumprod_prev": before,
        "sqrt_alphas_cumprod": total.sqrt(),
        "sqrt_one_minus_alphas_cumprod": (1 - total).sqrt(),
        "log_one_minus_alphas_cumprod": (1 - total).log(),
        "sqrt_recip_alphas_cumprod": (1 / total).sqrt(),
        "sqrt_recipm1_alphas_cumprod": (1 / total - 1).sqrt(),
        "posterior_variance": variance,
        "posterior_log_variance_clipped": variance.clamp(min=_LEAST_VARIANCE).log(),
        "posterior_mean_coef1": betas * before.sqrt() / (1 - total),
        "posterior_mean_coef2": (1 - before) * alphas.sqrt() / (1 - total),
    }
    if config.rescale.use_scale:
        buffers["scale_arr"] = _scale_buffer(config)
    return buffers


def _scale_buffer(config: OriginalConfig) -> Tensor:
    rescale = config.rescale
    falling = torch.linspace(1, rescale.scale_b, rescale.mid_step, dtype=torch.float64)
    rest = config.timesteps - (rescale.mid_step if rescale.fix_scale_bug else 0)
    return torch.cat([falling, torch.full((max(rest, 0),), rescale.scale_b, dtype=torch.float64)])
