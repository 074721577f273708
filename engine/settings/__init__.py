"""The settings of the engine. They import no model framework, so every command can read them."""

from engine.settings.engine import (
    MAX_HANG_S,
    MAX_QUEUE_CAPACITY,
    Backend,
    ClipSettings,
    EngineSettings,
    IntakeLimits,
    WorkerSettings,
)
from engine.settings.errors import EngineModel, EngineSettingsError
from engine.settings.loading import AttentionChoice, ModelOptions, Offload, Precision

__all__ = [
    "MAX_HANG_S",
    "MAX_QUEUE_CAPACITY",
    "AttentionChoice",
    "Backend",
    "ClipSettings",
    "EngineModel",
    "EngineSettings",
    "EngineSettingsError",
    "IntakeLimits",
    "ModelOptions",
    "Offload",
    "Precision",
    "WorkerSettings",
]
