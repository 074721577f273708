"""`python -m bot sync`: tell Discord which commands there are, and nothing else."""

from __future__ import annotations

from typing import Final

from discord.ext import commands

from bot.lifecycle.login import READING_ERRORS, AnswerUnreadableError
from bot.lifecycle.sync_commands import remove_all_copies, sync_commands

_MAX_SERVERS: Final = 200
"""Discord tells of no more in one answer."""


async def run_sync(bot: commands.Bot, token: str, guild_id: int | None) -> int:
    """Replace Discord's list of commands, everywhere or in one server; return their number.

    Args:
        bot: has its commands after the login.
        token: of the bot.
        guild_id: of the one server; None: everywhere.

    Raises:
        discord.LoginFailure, discord.HTTPException: Discord refused.
        AnswerUnreadableError: Discord's answer to the login cannot be read.
    """
    async with bot:
        await bot.login(token)
        try:
            return await _sync(bot, guild_id)
        except READING_ERRORS as error:
            raise AnswerUnreadableError(type(error).__name__) from error


async def _sync(bot: commands.Bot, guild_id: int | None) -> int:
    count = await sync_commands(bot.tree, guild_id)
    if guild_id is None:
        # Copies that a server has of its own would be shown beside the global commands.
        guilds = await bot.http.get_guilds(_MAX_SERVERS)
        await remove_all_copies(bot.tree, [int(guild["id"]) for guild in guilds])
    return count
