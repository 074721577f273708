"""Exit codes, and the errors that end a command with one."""

from __future__ import annotations

from typing import Final

OK: Final = 0
FAILED: Final = 1
USAGE: Final = 2
INTERRUPTED: Final = 130
"""128 and the number of SIGINT, as shells count; SIGTERM is 143 and SIGHUP 129 in the same way."""

OUTPUT_CLOSED: Final = 141
"""128 and the number of SIGPIPE: the reader of standard output has gone."""


class CommandError(Exception):
    """Ends a command with one line on stderr.

    Attributes:
        code: the exit code: 2 for wrong usage or settings, 1 otherwise.
    """

    def __init__(self, message: str, *, code: int = FAILED) -> None:
        self.code = code
        super().__init__(message)


def usage_error(message: str) -> CommandError:
    """Return the error for what the caller of a command got wrong."""
    return CommandError(message, code=USAGE)
