"""How work that nobody waits for any more is broken off."""

from __future__ import annotations

from collections.abc import Callable

Check = Callable[[], None]
"""Called again and again by whatever takes long; what it raises ends the work."""


class Interrupted(Exception):  # noqa: N818 - not an error: how a cancelled job leaves its worker
    """The job was cancelled; never seen outside the worker."""


class Abandoned(BaseException):
    """The watchdog has given up on this thread: its jobs have ended without it.

    Not an Exception, so that no handler between here and the thread's end takes it for a failure
    of a job.
    """


def carry_on() -> None:
    """The check of work that is never broken off."""
