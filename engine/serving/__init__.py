"""Serving: requests in, events and finished clips out."""

from engine.checkpoints.catalog import ModelCard
from engine.serving.devices import device_kind
from engine.serving.encode import EncodeError, EncoderMissingError
from engine.serving.engine import Engine
from engine.serving.errors import (
    EngineClosed,
    EngineSettingsError,
    JobCancelled,
    JobFailed,
    QueueFullError,
    RequestError,
)
from engine.serving.estimate import Estimate, Workload
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
from engine.serving.fit import fit_to_limit
from engine.serving.formats import convert_clip
from engine.serving.job import Job
from engine.serving.ladder import CannotFitError
from engine.serving.options import ModelOptions
from engine.serving.pictures import PictureError, decode_picture
from engine.serving.places import QueueView, RunningJob, WaitingJob
from engine.serving.requests import GenerationRequest, ResolvedSettings
from engine.serving.settings import EngineSettings
from engine.serving.status import LoadedModel, WorkerStatus

__all__ = [
    "Cancelled",
    "CannotFitError",
    "EncodeError",
    "EncoderMissingError",
    "Engine",
    "EngineClosed",
    "EngineSettings",
    "EngineSettingsError",
    "Estimate",
    "Event",
    "Failed",
    "FailureReason",
    "Finished",
    "GenerationRequest",
    "GenerationResult",
    "Job",
    "JobCancelled",
    "JobFailed",
    "LoadedModel",
    "ModelCard",
    "ModelOptions",
    "PictureError",
    "Progress",
    "QueueFullError",
    "QueueView",
    "Queued",
    "RequestError",
    "ResolvedSettings",
    "RunningJob",
    "Started",
    "Terminal",
    "WaitingJob",
    "WorkerStatus",
    "Workload",
    "convert_clip",
    "decode_picture",
    "device_kind",
    "fit_to_limit",
]
