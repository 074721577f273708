"""`python -m bot sync`: tell Discord which commands there are, and nothing else."""

from __future__ import annotations

from bot.app import Floor33Bot
from bot.registration import sync_commands
from bot.settings import Settings


class _Registrar(Floor33Bot):
    """The bot's commands without anything behind them."""

    async def setup_hook(self) -> None:
        await self.add_commands()


async def run_sync(settings: Settings, token: str, guild_id: int | None) -> int:
    """Replace Discord's list of commands, everywhere or in one server; how many there are.

    Raises:
        discord.LoginFailure, discord.HTTPException: Discord refused.
    """
    async with _Registrar(settings) as bot:
        await bot.login(token)
        return await sync_commands(bot.tree, guild_id)
