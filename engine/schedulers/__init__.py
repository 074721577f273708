"""Samplers: from noise to a clean latent in few calls of the network."""

# diffusers loads a component of a model folder only if its base class is an attribute of the module
# that the folder names, which is this one.
from diffusers.schedulers.scheduling_utils import SchedulerMixin

from engine.schedulers.base import SchedulerStep, VideoScheduler
from engine.schedulers.factory import SCHEDULER_NAMES, make_scheduler, scheduler_from_config
from engine.schedulers.noise import Generators, clip_noise, step_noise, unit_noise
from engine.schedulers.noise_schedule import NoiseSchedule, NoiseScheduleConfig, PredictionType
from engine.schedulers.original_ddim import OriginalDDIMScheduler
from engine.schedulers.solvers import SolverScheduler

__all__ = [
    "SCHEDULER_NAMES",
    "Generators",
    "NoiseSchedule",
    "NoiseScheduleConfig",
    "OriginalDDIMScheduler",
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
