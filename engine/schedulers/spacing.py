"""Timesteps of a run on the schedule; noisiest first, as in all of this package."""

import numpy as np
import torch
from torch import Tensor

_LEAST_ALPHA = 2**-24
"""Replaces an ``abar`` of 0, whose signal-to-noise ratio has no logarithm; as diffusers."""


def even_timesteps(total: int, steps: int, *, trailing: bool) -> list[int]:
    """Timesteps as even as whole numbers allow.

    Args:
        total: timesteps of the schedule.
        steps: how many are wanted.
        trailing: begin at the very last timestep; else end at timestep 1, which with ``steps``
            that divide ``total`` gives the timesteps of the public VideoCrafter code.
    """
    if trailing:
        return [round(total * left / steps) - 1 for left in range(steps, 0, -1)]
    return [total * index // steps + 1 for index in reversed(range(steps))]


def log_snr_timesteps(alphas_cumprod: Tensor, steps: int) -> list[int]:
    """All of the schedule, in even steps of the signal-to-noise ratio's logarithm.

    The spacing in which the error of DPM-Solver is analysed (arXiv 2206.00927, section 4). Where
    neighbours fall on one timestep, they are moved apart.

    Args:
        alphas_cumprod: ``abar'`` of the variance-preserving process, ``[T]``.
        steps: 1 to T.
    """
    total = len(alphas_cumprod)
    told_apart = int((alphas_cumprod > _LEAST_ALPHA).sum())  # all timesteps, or all but the last
    alphas = alphas_cumprod.clamp(min=_LEAST_ALPHA)
    log_snr = (0.5 * torch.log(alphas / (1 - alphas))).numpy()
    wanted = np.linspace(log_snr[-1], log_snr[0], steps)
    nearest = np.interp(wanted, log_snr[::-1], np.arange(total)[::-1]).round().astype(int)
    timesteps = [total - 1]
    for index, t in enumerate(nearest.tolist()[1:], start=1):
        highest = min(timesteps[-1], told_apart) - 1
        lowest = steps - 1 - index  # leaves room for those that follow
        timesteps.append(max(lowest, min(t, highest)))
    return timesteps
