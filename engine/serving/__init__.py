"""Serving: requests in, events and finished clips out."""

from engine.checkpoints.catalog import ModelCard
from engine.serving.engine import Engine
from engine.serving.errors import (
    EngineClosed,
    EngineSettingsError,
    JobCancelled,
    JobFailed,
    QueueFullError,
    RequestError,
)
from engine.serving.events import (
    Cancelled,
    Event,
    Failed,
    FailureReason,
    Finished,
    GenerationResult,
    Progress,
    Queued,
    Started,
    Terminal,
)
from engine.serving.job import Job
from engine.serving.options import ModelOptions
from engine.serving.pictures import PictureError, decode_picture
from engine.serving.requests import GenerationRequest, ResolvedSettings
from engine.serving.settings import EngineSettings

__all__ = [
    "Cancelled",
    "Engine",
    "EngineClosed",
    "EngineSettings",
    "EngineSettingsError",
    "Event",
    "Failed",
    "FailureReason",
    "Finished",
    "GenerationRequest",
    "GenerationResult",
    "Job",
    "JobCancelled",
    "JobFailed",
    "ModelCard",
    "ModelOptions",
    "PictureError",
    "Progress",
    "QueueFullError",
    "Queued",
    "RequestError",
    "ResolvedSettings",
    "Started",
    "Terminal",
    "decode_picture",
]
