"""What can be wrong with a data set as a whole, and with one sample of it."""

from __future__ import annotations


class DataError(RuntimeError):
    """A data set cannot be used; the text names the path and what to do."""


class NoSamplesError(DataError):
    """A data set holds nothing that can be trained on."""


class SampleError(Exception):
    """One sample cannot be used; it is counted under its reason and another takes its place.

    Attributes:
        reason: a short fixed text such as ``"broken video"``, fit for counting.
        detail: what was found, for the log.
    """

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(f"{reason}: {detail}")
        self.reason = reason
        self.detail = detail
