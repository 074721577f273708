"""Errors of submitting a job or waiting for it. Every text is meant for a user's eyes."""

from __future__ import annotations

from engine.errors import EngineError
from engine.serving.events import FailureReason
from engine.settings import EngineSettingsError

__all__ = [
    "EngineClosed",
    "EngineSettingsError",
    "JobCancelled",
    "JobFailed",
    "QueueFullError",
    "RequestError",
]


class RequestError(EngineError, ValueError):
    """A request that no job is made of; nothing was queued.

    Attributes:
        field: the field of the request that is at fault.
        message: one sentence that names the allowed values.
    """

    def __init__(self, field: str, message: str) -> None:
        self.field = field
        self.message = message
        super().__init__(message)


class QueueFullError(RequestError):
    """The queue holds as many jobs as the engine accepts."""

    def __init__(self, capacity: int) -> None:
        super().__init__(
            "queue", f"The queue is full ({capacity} jobs are waiting). Please try again later."
        )


class EngineClosed(EngineError, RuntimeError):  # noqa: N818 - a state, like asyncio.QueueShutDown
    """The engine has been closed and takes no more jobs."""


class JobFailed(EngineError, RuntimeError):  # noqa: N818 - the outcome of a job, not a fault of the caller
    """The job ended with a :class:`~engine.serving.events.Failed` event.

    Attributes:
        reason: the event's.
        message: the event's, for the person who asked.
        detail: the event's, for the operator.
    """

    def __init__(self, reason: FailureReason, message: str, detail: str = "") -> None:
        self.reason = reason
        self.message = message
        self.detail = detail
        super().__init__(message)


class JobCancelled(EngineError, RuntimeError):  # noqa: N818 - the outcome of a job, not a fault of the caller
    """The job was cancelled before it had a result."""
