"""The bot as its own parts see it, without the class that owns them all."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator
from datetime import timedelta
from typing import Protocol, TypeVar

import discord
from discord.ext import commands

from bot.operations.metrics import Metrics
from bot.operations.shutdown import Shutdown
from bot.settings import Settings
from bot.store import JobRecord, Store
from bot.tasks import TaskSupervisor
from engine.serving import Engine

Result = TypeVar("Result")


class RetryPolicy(Protocol):
    """Tells how long to wait between tries."""

    def retries_s(self, *, patient: bool) -> Iterator[float]:
        """Yield the seconds between tries; without end, if patient."""


class RequestTrace(Protocol):
    """Remembers the requests that were sent to Discord."""

    @property
    def clock_skew(self) -> timedelta:
        """This machine's time less Discord's."""

    def tried_before(self, interaction_id: int) -> bool:
        """Return whether an answer to the interaction was sent more than once."""


class StoreAccess(Protocol):
    """Reads and writes that are retried while the database is unavailable."""

    async def write(self, write: Callable[[Store], Awaitable[Result]], /) -> Result:
        """Return what `write` does with the store."""


class JobControl(Protocol):
    """Ends jobs."""

    async def cancel(self, job_id: str, interaction: discord.Interaction) -> None:
        """End a job that waits or runs. Raises UserError."""

    async def cancel_own(self, user_id: int, job_id: str | None = None) -> list[JobRecord]:
        """End one of the user's jobs, or all of them; return those that it ended."""

    async def on_message_deleted(self, message_id: int) -> None:
        """End the job that a deleted message showed, or remove its clip."""


class ClipControl(Protocol):
    """Acts on finished clips. Every method raises UserError for what is not allowed."""

    async def reroll(
        self, generation_id: str, interaction: discord.Interaction, answer_id: int | None
    ) -> JobRecord:
        """Make the clip again with another seed."""

    async def delete(self, generation_id: str, interaction: discord.Interaction) -> None:
        """Remove the clip's message and files."""

    async def resend(self, generation_id: str, interaction: discord.Interaction) -> None:
        """Send the clip as the interaction's answer."""


class RatingSync(Protocol):
    """Keeps the ratings those that messages show."""

    async def on_message_deleted(self, message_id: int) -> None:
        """Take in that a message is gone."""

    async def look(self, channel_id: int, message_id: int) -> None:
        """Read a message's thumbs."""


class EventSkipper(Protocol):
    """Logs and counts what Discord sent and nobody can read."""

    def skip(self, event: object, data: object, error: Exception) -> None:
        """Skip an event or packet."""


class StatusDisplay(Protocol):
    """The line beside the bot's name."""

    async def show(self, text: str) -> None:
        """Show the text."""


class BotClient(commands.Bot):
    """The Discord client with what it owns; commands, buttons and lifecycle see no more of it.

    Store, engine and what works with them exist from `setup_hook` to `close`.
    """

    settings: Settings
    background: TaskSupervisor
    metrics: Metrics
    shutdown: Shutdown
    throttle: RetryPolicy
    http_trace: RequestTrace
    events: EventSkipper
    status_line: StatusDisplay
    store: Store
    engine: Engine
    services: StoreAccess
    jobs: JobControl
    clips: ClipControl
    ratings: RatingSync

    async def may_answer(self, interaction: discord.Interaction) -> bool:
        """Return whether the interaction is this bot's to carry out."""
        raise NotImplementedError

    def still_in_charge(self) -> bool:
        """Return whether this bot still works on its data folder."""
        raise NotImplementedError

    def fail(self, reason: str) -> None:
        """End the bot, with exit code 1 and this one line."""
        raise NotImplementedError
