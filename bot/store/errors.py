"""What the store raises. Every message is one line that can be shown to whoever runs the bot."""

from __future__ import annotations

from enum import StrEnum


class Trouble(StrEnum):
    """What kind of trouble the database is in: what to tell errors apart, and count them, by."""

    BUSY = "busy"
    FULL = "full"
    DAMAGED = "damaged"
    DENIED = "denied"
    UNREACHABLE = "unreachable"
    OTHER = "other"


class StoreError(Exception):
    """The database could not do what was asked; nothing of it was written."""

    def __init__(self, message: str, *, trouble: Trouble = Trouble.OTHER) -> None:
        super().__init__(message)
        self.trouble = trouble

    @property
    def for_users(self) -> str:
        """Return one sentence for somebody who does not run the bot."""
        if self.trouble is Trouble.FULL:
            return "The disk of the machine that runs this bot is full. Try again later."
        return "The bot's database cannot be used at the moment. Try again later."


class TakenOverError(StoreError):
    """Another bot has claimed the database since; this one may not write to it any more."""

    def __init__(self, name: str) -> None:
        super().__init__(f"database {name}: another bot has taken over")


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
