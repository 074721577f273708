"""Decide if one more job is taken, before anything is fetched or stored."""

from __future__ import annotations

import asyncio
import logging
from datetime import UTC, datetime, timedelta
from typing import Final

import discord

from bot.context import Services
from bot.errors import UserError
from bot.jobs.membership import SharedServers
from bot.messages.text import in_about
from bot.operations.shutdown import RESTARTING
from bot.settings import Settings
from engine.serving import QueueView

logger = logging.getLogger(__name__)

BLOCKED: Final = "The operator of this bot has shut you out from making clips."
WRONG_SERVER: Final = (
    "This bot makes no clips for this server. Its operator can name the server in its settings."
)
NO_DIRECT_MESSAGES: Final = (
    "This bot takes no orders in direct messages. Use the command in a server."
)
STRANGER: Final = (
    "Clips in direct messages are for people who share a server with this bot. Use the command in "
    "such a server."
)
UNSURE: Final = (
    "It could not be found out whether you share a server with this bot. Try again in a minute, or "
    "use the command in a server."
)
_HOUR: Final = timedelta(hours=1)


class Admission:
    """The rules of who may have clips made, and how many.

    Args:
        client: the bot.
        settings: whom and what they allow.
        services: the store, the engine's queue and whether the bot is about to end.
    """

    def __init__(self, client: discord.Client, settings: Settings, services: Services) -> None:
        self._settings = settings
        self._services = services
        self._shared = SharedServers(client, services.store, settings.discord.servers)

    async def check(self, interaction: discord.Interaction) -> None:
        """Raise UserError unless the person may have one more clip made, here and now."""
        await self.check_person(interaction.user.id, interaction.guild_id)
        await self.check_quota(interaction)

    async def check_person(self, user_id: int, guild_id: int | None) -> None:
        """Raise UserError unless the user may use the bot there (None: in direct messages)."""
        if await self._services.store.is_blocked(user_id):
            raise UserError(BLOCKED)
        allowed = self._settings.discord
        if guild_id is not None:
            if allowed.servers is not None and guild_id not in allowed.servers:
                raise UserError(WRONG_SERVER)
            return
        if allowed.direct_messages == "nobody":
            raise UserError(NO_DIRECT_MESSAGES)
        if allowed.direct_messages == "members":
            shares = await self._shared.has(user_id)
            if not shares:
                raise UserError(UNSURE if shares is None else STRANGER)

    async def check_quota(self, interaction: discord.Interaction) -> None:
        """Raise UserError, which says when to come again, where there is no room for a job now."""
        await check_quota(self._services, self._settings, interaction.user.id, interaction.guild_id)


async def check_quota(
    services: Services, settings: Settings, user_id: int, guild_id: int | None
) -> None:
    """Raise UserError, which says when to come again, where there is no room for a job now."""
    if services.shutdown.begun:
        raise UserError(RESTARTING)
    if problem := await asyncio.to_thread(services.engine.free_space_problem):
        logger.error("a job was refused: %s", problem)
        raise UserError(problem)
    limits, store = settings.limits, services.store
    own = await store.active_jobs(user_id=user_id)
    if own >= limits.max_active_jobs_per_user:
        clips = "1 clip" if own == 1 else f"{own} clips"
        raise UserError(
            f"You have {clips} under way; at most {limits.max_active_jobs_per_user} are allowed at "
            f"a time. {_next_slot(services.engine.queue(), str(user_id))} "
            "Or cancel one with /cancel."
        )
    await _check_hour(services, limits.max_jobs_per_user_per_hour, user_id)
    if guild_id is None:
        return
    of_guild = await store.active_jobs(guild_id=guild_id)
    if of_guild >= limits.max_active_jobs_per_guild:
        raise UserError(
            f"{of_guild} clips of this server are under way; at most "
            f"{limits.max_active_jobs_per_guild} are allowed at a time. "
            f"{_next_slot(services.engine.queue(), None)}"
        )


async def _check_hour(services: Services, limit: int, user_id: int) -> None:
    """Refuse more than so many jobs within any hour, whatever became of them.

    Counted in the rows, so that neither a restart nor a cancellation gives new ones.
    """
    first = await services.store.nth_last_job(user_id, limit)
    if first is None:
        return
    wait = (first + _HOUR - datetime.now(UTC)).total_seconds()
    if wait > 0:
        clips = "1 clip" if limit == 1 else f"{limit} clips"
        raise UserError(
            f"You have asked for {clips} within an hour; more are not allowed. You can ask for "
            f"the next one {in_about(wait)}."
        )


def _next_slot(queue: QueueView, owner: str | None) -> str:
    """Say when the first of the owner's jobs (None: of all) is likely to be done."""
    ends = [job.remaining_s for job in queue.running if owner is None or job.owner == owner] + [
        job.wait_s + job.cost_s for job in queue.waiting if owner is None or job.owner == owner
    ]
    if not ends:
        return "Try again in a moment."
    return f"There is room again {in_about(min(ends))}."
