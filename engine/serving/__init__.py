"""Serving: requests in, events and finished clips out."""

from engine.checkpoints.catalog import ModelCard
from engine.params import ClipParams, ResolvedParams
from engine.serving.engine import Engine
from engine.serving.errors import (
    EngineClosed,
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
from engine.serving.job_handle import Job, JobHandle
from engine.serving.media.gif_webp import convert_clip
from engine.serving.media.input_images import PictureError, decode_picture
from engine.serving.media.mp4 import EncodeError, EncoderMissingError
from engine.serving.media.size_limit import fit_to_limit
from engine.serving.media.size_search import CannotFitError
from engine.serving.request import GenerationRequest, ResolvedSettings
from engine.serving.scheduling.cost_model import Estimate, RequestShape
from engine.serving.scheduling.queue_view import QueueView, RunningJob, WaitingJob
from engine.serving.status import LoadedModel, WorkerStatus
from engine.serving.workers.devices import device_kind
from engine.settings import EngineSettings, EngineSettingsError, ModelOptions

Workload = RequestShape

__all__ = [
    "Cancelled",
    "CannotFitError",
    "ClipParams",
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
    "JobHandle",
    "LoadedModel",
    "ModelCard",
    "ModelOptions",
    "PictureError",
    "Progress",
    "QueueFullError",
    "QueueView",
    "Queued",
    "RequestError",
    "RequestShape",
    "ResolvedParams",
    "ResolvedSettings",
    "RunningJob",
    "Started",
    "Terminal",
    "WaitingJob",
    "WorkerStatus",
    "convert_clip",
    "decode_picture",
    "device_kind",
    "fit_to_limit",
]
