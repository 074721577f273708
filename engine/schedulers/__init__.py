"""Samplers: from noise to a clean latent in few calls of the network.

What needs torch is imported when it is first asked for, so that the names and limits of the
samplers (`engine.schedulers.config`) are known without it.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

from engine.schedulers.config import SCHEDULER_NAMES, NoiseScheduleConfig
from engine.schedulers.solver_table import PredictionType

if TYPE_CHECKING:
    # diffusers loads a component of a model folder only if its base class is an attribute of the
    # module that the folder names, which is this one.
    from diffusers.schedulers.scheduling_utils import SchedulerMixin

    from engine.schedulers.base import Predict, SchedulerStep, VideoScheduler
    from engine.schedulers.factory import make_scheduler, scheduler_from_config
    from engine.schedulers.noise import Generators, clip_noise, step_noise, unit_noise
    from engine.schedulers.noise_schedule import NoiseSchedule
    from engine.schedulers.original_ddim import OriginalDDIMScheduler
    from engine.schedulers.solvers import SolverScheduler

__all__ = [
    "SCHEDULER_NAMES",
    "Generators",
    "NoiseSchedule",
    "NoiseScheduleConfig",
    "OriginalDDIMScheduler",
    "Predict",
    "PredictionType",
    "SchedulerMixin",
    "SchedulerStep",
    "SolverScheduler",
    "VideoScheduler",
    "clip_noise",
    "make_scheduler",
    "scheduler_from_config",
    "step_noise",
    "unit_noise",
]

_HEAVY = {
    "Generators": "engine.schedulers.noise",
    "NoiseSchedule": "engine.schedulers.noise_schedule",
    "OriginalDDIMScheduler": "engine.schedulers.original_ddim",
    "Predict": "engine.schedulers.base",
    "SchedulerMixin": "diffusers.schedulers.scheduling_utils",
    "SchedulerStep": "engine.schedulers.base",
    "SolverScheduler": "engine.schedulers.solvers",
    "VideoScheduler": "engine.schedulers.base",
    "clip_noise": "engine.schedulers.noise",
    "make_scheduler": "engine.schedulers.factory",
    "scheduler_from_config": "engine.schedulers.factory",
    "step_noise": "engine.schedulers.noise",
    "unit_noise": "engine.schedulers.noise",
}


def __getattr__(name: str) -> object:
    """Import what needs torch and diffusers when it is first asked for (PEP 562)."""
    if name in _HEAVY:
        return getattr(importlib.import_module(_HEAVY[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
