"""Signals that end work which nobody waits for any more."""

from __future__ import annotations

from collections.abc import Callable

Check = Callable[[], None]
"""Called again and again by whatever takes long; what it raises ends the work."""


class BatchInterrupted(Exception):  # noqa: N818 - not an error: every job of the batch was cancelled
    """No job of the batch is left; never seen outside the worker."""


class WorkerAbandoned(BaseException):
    """The watchdog has given up on this thread: its jobs have ended without it.

    Not an Exception, so that no handler between here and the thread's end takes it for a failure
    of a job.
    """


def no_check() -> None:
    """Let work that is never ended early go on."""
