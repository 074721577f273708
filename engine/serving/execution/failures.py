"""Turn what a job raised into the failure that its user is told."""

from __future__ import annotations

import errno
import logging

from common.out_of_memory import is_out_of_memory
from engine.checkpoints.errors import ModelChangedError, ModelLoadError
from engine.errors import EngineError
from engine.serving.backends import NonFiniteError
from engine.serving.events import Failed, FailureReason
from engine.serving.media.ffmpeg import EncodeError, EncoderMissingError

__all__ = [
    "DISK_FULL_CODES",
    "ClipFolderError",
    "DiskFullError",
    "NonFiniteError",
    "concerns_all",
    "failure_of",
    "hung",
]

logger = logging.getLogger(__name__)

DISK_FULL_CODES = frozenset({errno.ENOSPC, errno.EDQUOT})
"""Codes of an OSError that mean that there is no room."""

_SMALLER = "Try a smaller size or fewer frames."


class DiskFullError(EngineError, OSError):
    """Less space is free than a job needs."""

    def __init__(self, message: str) -> None:
        super().__init__(errno.ENOSPC, message)


class ClipFolderError(EngineError, OSError):
    """The folder of the clips cannot be made or written to."""


def concerns_all(error: BaseException) -> bool:
    """Return True if an error is one of the machine or the model, whatever job it was met in."""
    return isinstance(error, (ModelLoadError, EncoderMissingError, OSError))


def hung(phase: str, seconds: float) -> Failed:
    """Return the failure of a job whose worker has given no heartbeat."""
    minutes = seconds / 60
    waited = f"{minutes:.0f} minutes" if minutes >= 2 else f"{seconds:.0f} seconds"
    return Failed(
        FailureReason.HUNG,
        f"The machine stopped answering while it was {phase}, and was given up after {waited}.",
    )


def failure_of(error: BaseException, job_id: str, *, smaller: str = _SMALLER) -> Failed:
    """Return the failure event for what a job raised; logs everything an operator should see.

    The message is for the person who asked for the clip. Details such as paths, which belong to
    the operator, go to the log only.

    Args:
        error: what was raised.
        job_id: for the log.
        smaller: one sentence on what to ask for instead when there was not enough memory.
    """
    if is_out_of_memory(error):
        logger.error("job %s ran out of memory: %s", job_id, error)
        return Failed(
            FailureReason.OUT_OF_MEMORY, f"There was not enough memory for this clip. {smaller}"
        )
    if isinstance(error, ModelChangedError):
        logger.warning("job %s: %s", job_id, error)
        return Failed(
            FailureReason.MODEL_UNAVAILABLE,
            "The model was changed after this clip was asked for. Ask for the clip again.",
        )
    if isinstance(error, ModelLoadError):
        logger.error("job %s: %s", job_id, error)
        return Failed(
            FailureReason.MODEL_UNAVAILABLE,
            "The model cannot be loaded at the moment. Its operator finds the reason in the log.",
            str(error),
        )
    if isinstance(error, EncoderMissingError):
        logger.error("job %s: no video encoder: %s", job_id, error)
        return Failed(
            FailureReason.ENCODER_MISSING,
            "The video encoder (ffmpeg) is missing or incomplete on the machine that runs this.",
            str(error),
        )
    if isinstance(error, OSError) and error.errno in DISK_FULL_CODES:
        logger.error("job %s: the disk is full: %s", job_id, error)
        return Failed(
            FailureReason.DISK_FULL,
            "The disk of the machine that runs this is full. Nothing was kept.",
        )
    if isinstance(error, ClipFolderError):
        logger.error("job %s: clips cannot be written: %s", job_id, error)
        return Failed(
            FailureReason.INTERNAL,
            "The folder for clips cannot be written to on the machine that runs this.",
        )
    if isinstance(error, NonFiniteError):
        logger.error("job %s: %s", job_id, error)
        return Failed(
            FailureReason.NON_FINITE,
            "The model produced no valid picture. Try another seed, or less guidance.",
        )
    logger.error("job %s failed", job_id, exc_info=error)
    if isinstance(error, EncodeError):
        return Failed(
            FailureReason.ENCODER_FAILED,
            "The video encoder (ffmpeg) failed on this clip. It has been logged.",
            str(error),
        )
    return Failed(
        FailureReason.INTERNAL,
        "Something went wrong while making this clip. It has been logged.",
        f"{type(error).__name__}: {error}" if str(error) else type(error).__name__,
    )
