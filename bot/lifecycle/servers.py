"""Leave servers in which the bot is not meant to be."""

from __future__ import annotations

import logging

import aiohttp
import discord
from discord.ext import commands

from bot.settings import Settings

logger = logging.getLogger(__name__)


class AllowedServers(commands.Cog):
    """Keeps the bot to the servers of its settings; without a list it stays wherever it is."""

    def __init__(self, client: discord.Client, settings: Settings) -> None:
        self._client = client
        self._allowed = settings.discord.servers
        self._leaving: set[int] = set()

    @commands.Cog.listener()
    async def on_ready(self) -> None:
        """Leave servers that the bot was added to while it was away; may be called many times."""
        for guild in list(self._client.guilds):
            await self._leave_if_foreign(guild)

    @commands.Cog.listener()
    async def on_guild_join(self, guild: discord.Guild) -> None:
        """Leave a server that the bot has just been added to."""
        await self._leave_if_foreign(guild)

    @commands.Cog.listener()
    async def on_guild_available(self, guild: discord.Guild) -> None:
        """Leave a server that was out of reach when the bot started."""
        await self._leave_if_foreign(guild)

    async def _leave_if_foreign(self, guild: discord.Guild) -> None:
        if self._allowed is None or guild.id in self._allowed or guild.id in self._leaving:
            return
        self._leaving.add(guild.id)
        try:
            await guild.leave()
        except (discord.DiscordException, aiohttp.ClientError, OSError) as error:
            logger.warning("server %s, which is not allowed, was not left: %s", guild.id, error)
        else:
            logger.warning("left server %s, which is not in discord.servers", guild.id)
        finally:
            self._leaving.discard(guild.id)
