"""The line beside the bot's name, in each session."""

from __future__ import annotations

import logging

import aiohttp
import discord
from discord.ext import commands

logger = logging.getLogger(__name__)


class StatusLine:
    """Shows a line now and in every later session: Discord forgets it with the session.

    Args:
        bot: whose line it is.
    """

    def __init__(self, bot: commands.Bot) -> None:
        self._bot = bot
        self._text: str | None = None
        bot.add_listener(self._send, "on_ready")
        # A connection may have ended while the line was on its way.
        bot.add_listener(self._send, "on_resumed")

    async def show(self, text: str) -> None:
        """Show this line from now on; without a connection, from the next one on."""
        self._text = text
        await self._send()

    async def _send(self) -> None:
        if self._text is None or not self._bot.is_ready():
            return
        try:
            await self._bot.change_presence(activity=discord.CustomActivity(self._text))
        except (aiohttp.ClientError, OSError, RuntimeError) as error:
            logger.debug("the status line is set with the next connection: %s", error)
