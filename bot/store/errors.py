"""Errors of the store. Every message is one line that can be shown to whoever runs the bot."""

from __future__ import annotations

from enum import StrEnum
from typing import Final

from bot.errors import BotError


class ErrorKind(StrEnum):
    """The kinds of database errors, by which they are told apart and counted."""

    BUSY = "busy"
    FULL = "full"
    IO = "io"
    DAMAGED = "damaged"
    DENIED = "denied"
    UNREACHABLE = "unreachable"
    GONE = "gone"
    OTHER = "other"

    @property
    def passes(self) -> bool:
        """True if time, or the operator while the bot runs, mends it: worth another try."""
        return self in _PASSING

    @property
    def for_users(self) -> str:
        """One sentence for whoever asked for what could not be stored; names no file or server."""
        return _FOR_USERS[self]


_PASSING: Final = frozenset(
    {ErrorKind.BUSY, ErrorKind.FULL, ErrorKind.IO, ErrorKind.DENIED, ErrorKind.UNREACHABLE}
)
_FOR_USERS: Final = {
    ErrorKind.BUSY: "The bot's database is busy with something else. Try again later.",
    ErrorKind.FULL: (
        "The disk of the machine that runs this bot is full. Its operator has to make room. "
        "Try again later."
    ),
    ErrorKind.IO: (
        "The disk with the bot's database cannot be read or written at the moment. Its operator "
        "has to look after it. Try again later."
    ),
    ErrorKind.DAMAGED: (
        "The bot's database is damaged, and its operator has to restore a backup. Try again later."
    ),
    ErrorKind.DENIED: (
        "The bot may not use its database at the moment. Its operator has to put that right. "
        "Try again later."
    ),
    ErrorKind.UNREACHABLE: "The bot's database cannot be reached. Try again in a few minutes.",
    ErrorKind.GONE: (
        "The bot's database was taken away while the bot ran, so nothing can be kept. Its "
        "operator has to put it back and restart the bot."
    ),
    ErrorKind.OTHER: (
        "The bot's database refused this, and nothing was kept. Its operator finds the reason in "
        "the log."
    ),
}


Trouble = ErrorKind
"""The earlier name of `ErrorKind`."""


class StoreError(BotError):
    """The database could not do what was asked; nothing of it was written.

    Args:
        message: one line for whoever runs the bot.
        kind: the kind of failure.
        from_driver: the database itself failed, not what was asked of it.
        trouble: `kind` under its earlier name.
    """

    def __init__(
        self,
        message: str,
        *,
        kind: ErrorKind = ErrorKind.OTHER,
        from_driver: bool = False,
        trouble: ErrorKind | None = None,
    ) -> None:
        super().__init__(message)
        self.kind = trouble or kind
        self.from_driver = from_driver

    @property
    def trouble(self) -> ErrorKind:
        """Return `kind`, under its earlier name."""
        return self.kind

    @property
    def for_users(self) -> str:
        """One sentence for the person who asked; without paths, names and details."""
        return self.kind.for_users


class DatabaseGoneError(StoreError):
    """The database's file, or its folder, is no longer the one that was opened."""

    def __init__(self, name: str, what: str) -> None:
        super().__init__(
            f"database {name}: {what} while the bot ran, so nothing can be kept in it any more; "
            "put it back, or restore a backup, and start the bot again",
            kind=ErrorKind.GONE,
            from_driver=True,
        )


class TakenOverError(StoreError):
    """Another bot has claimed the database since; this one may not write to it any more."""

    def __init__(self, name: str) -> None:
        super().__init__(f"database {name}: another bot has taken over")

    @property
    def for_users(self) -> str:
        """See `StoreError`."""
        return "The bot is being restarted. Ask again in a minute."


class UnknownJobError(StoreError):
    """No job has this id."""

    def __init__(self, job_id: str) -> None:
        super().__init__(f"there is no job {job_id!r}")
        self.job_id = job_id


class UnknownGenerationError(StoreError):
    """No generation has this id."""

    def __init__(self, generation_id: str) -> None:
        super().__init__(f"there is no generation {generation_id!r}")
        self.generation_id = generation_id


class IllegalTransitionError(StoreError):
    """The job is in a state from which the wanted state cannot be reached."""

    def __init__(self, job_id: str, current: str, wanted: str) -> None:
        super().__init__(f"job {job_id} is {current} and cannot become {wanted}")
        self.job_id = job_id
        self.current = current
        self.wanted = wanted
