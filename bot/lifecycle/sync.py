"""`python -m bot sync`: tell Discord which commands there are, and nothing else."""

from __future__ import annotations

from typing import Final

from bot.app import Floor33Bot
from bot.lifecycle.login import READING_ERRORS, AnswerUnreadableError
from bot.lifecycle.sync_commands import remove_all_copies, sync_commands
from bot.settings import Settings

_MAX_SERVERS: Final = 200
"""Discord tells of no more in one answer."""


class _Registrar(Floor33Bot):
    """The bot's commands without anything behind them."""

    async def setup_hook(self) -> None:
        self.note_login()
        await self.add_commands()


async def run_sync(settings: Settings, token: str, guild_id: int | None) -> int:
    """Replace Discord's list of commands, everywhere or in one server; how many there are.

    Raises:
        discord.LoginFailure, discord.HTTPException: Discord refused.
        AnswerUnreadableError: Discord's answer to the login is cannot be read.
    """
    async with _Registrar(settings) as bot:
        await bot.login(token)
        try:
            return await _sync(bot, guild_id)
        except READING_ERRORS as error:
            raise AnswerUnreadableError(type(error).__name__) from error


async def _sync(bot: Floor33Bot, guild_id: int | None) -> int:
    count = await sync_commands(bot.tree, guild_id)
    if guild_id is None:
        # Copies that a server has of its own would be shown beside the global commands.
        guilds = await bot.http.get_guilds(_MAX_SERVERS)
        await remove_all_copies(bot.tree, [int(guild["id"]) for guild in guilds])
    return count
