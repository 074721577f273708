"""Events of a job while it waits and runs."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from engine.params import ResolvedParams


class FailureReason(StrEnum):
    """Kinds of failure, for statistics and messages."""

    INVALID_REQUEST = "invalid_request"
    MODEL_UNAVAILABLE = "model_unavailable"
    OUT_OF_MEMORY = "out_of_memory"
    ENCODER_MISSING = "encoder_missing"
    ENCODER_FAILED = "encoder_failed"
    DISK_FULL = "disk_full"
    NON_FINITE = "non_finite"
    HUNG = "hung"
    WORKER_LOST = "worker_lost"
    INTERNAL = "internal"


@dataclass(frozen=True, slots=True, kw_only=True)
class GenerationResult:
    """A finished clip and everything needed to make it again.

    ``params`` are complete, without the picture; their ``width`` and ``height`` are what the model
    drew, in pixels: the file may be enlarged by an integer factor. ``duration_s`` is the length of
    the clip and ``elapsed_s`` the time the rendering took, without waiting and without loading the
    model; of a batch, the clip's part. ``unread`` and ``unread_negative`` are as in the settings.
    """

    job_id: str
    params: ResolvedParams
    model_revision: str
    path: Path
    sidecar: Path
    duration_s: float
    elapsed_s: float
    unread: str | None = None
    unread_negative: str | None = None


@dataclass(frozen=True, slots=True)
class Queued:
    """The job waits. Repeated when its place has changed, every few seconds at most.

    Also comes after ``Started`` and ``Progress``, when the machine that made the clip is gone: the
    job waits for another.

    A place may also get worse: whoever has had less than their share is let in before.

    Attributes:
        position: 1 is next.
        wait_s: estimated seconds until it starts; None: not known.
        wait_error: how far off that is on average, as a part of it: 0.2 is ±20 %.
    """

    position: int
    wait_s: float | None = None
    wait_error: float | None = None


@dataclass(frozen=True, slots=True)
class Started:
    """A worker has taken the job; ``device`` is a torch device name."""

    device: str


@dataclass(frozen=True, slots=True)
class Progress:
    """``step`` of ``total_steps`` is done. Begins anew when memory ran out and the job goes on.

    ``preview`` is a small WebP picture of the clip so far, present in a few events of a job only.
    """

    step: int
    total_steps: int
    preview: bytes | None = None


@dataclass(frozen=True, slots=True)
class Finished:
    """The clip is on disk, complete."""

    result: GenerationResult


@dataclass(frozen=True, slots=True)
class Failed:
    """The job ended without a clip; ``message`` is one sentence for the person who asked.

    ``detail`` is for the operator: what was raised, paths included; "" where the message says all.
    """

    reason: FailureReason
    message: str
    detail: str = ""


@dataclass(frozen=True, slots=True)
class Cancelled:
    """The job was cancelled, or the engine was closed; nothing is left on disk."""


Terminal = Finished | Failed | Cancelled
Event = Queued | Started | Progress | Terminal
