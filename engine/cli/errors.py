"""How a command ends when it cannot go on."""

from __future__ import annotations


class CommandError(Exception):
    """Ends a command with one line on stderr.

    Attributes:
        code: the exit code: 2 for wrong usage or settings, 1 otherwise.
    """

    def __init__(self, message: str, *, code: int = 1) -> None:
        self.code = code
        super().__init__(message)


def usage_error(message: str) -> CommandError:
    """The error for what the caller of a command got wrong."""
    return CommandError(message, code=2)
