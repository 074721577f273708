"""Errors of a data set as a whole, and of single samples of it."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from concurrent.futures import CancelledError
from contextlib import contextmanager

from training.errors import TrainingError

logger = logging.getLogger(__name__)


class DataError(TrainingError):
    """A data set cannot be used; the text names the path and what to do."""


class NoSamplesError(DataError):
    """A data set holds nothing that can be trained on."""


class SampleError(TrainingError):
    """One sample cannot be used; it is counted under its reason and another takes its place.

    Attributes:
        reason: a short fixed text such as ``"broken video"``, fit for counting.
        detail: what was found, for the log.
    """

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(f"{reason}: {detail}")
        self.reason = reason
        self.detail = detail


@contextmanager
def about_sample(name: str) -> Iterator[None]:
    """Turn whatever reading one sample raises into a SampleError; the edge of all reading.

    Files from anywhere make decoders raise anything; none of it ends a run. What is not foreseen
    is logged with its traceback.

    Args:
        name: of the sample, for the log.

    Raises:
        SampleError: the sample cannot be used.
        DataError: the whole set cannot.
    """
    try:
        yield
    except (SampleError, DataError, CancelledError):
        raise
    except Exception as error:
        logger.warning("%r cannot be read", name, exc_info=True)
        detail = f"{name}: {type(error).__name__}: {error}"
        raise SampleError("cannot be read", detail) from error
