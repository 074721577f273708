"""Find out whether somebody is in one of the bot's servers, without the members intent."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Collection
from typing import Final

import aiohttp
import discord

from bot.store import Store

logger = logging.getLogger(__name__)

_LOOKUPS: Final = 25
"""Servers that are asked about one person; a bot in more of them asks the likely ones first."""

_AT_ONCE: Final = 3
_PATIENCE_S: Final = 15.0
_YES_S: Final = 300.0
_NO_S: Final = 60.0
_REMEMBERED: Final = 10_000


class SharedServers:
    """Knows who shares a server with the bot, for some minutes after it has asked Discord.

    Discord tells nobody's membership without the privileged intent, and does not tell who has
    left, so what the library has cached would be out of date: one member of one server is asked
    for at a time, which is allowed.

    Args:
        client: the bot.
        store: tells where somebody has asked for clips before.
        servers: those that count; None: all.
    """

    def __init__(
        self, client: discord.Client, store: Store, servers: Collection[int] | None
    ) -> None:
        self._client = client
        self._store = store
        self._servers = servers
        self._answers: dict[int, tuple[float, bool]] = {}
        self._asking = asyncio.Semaphore(_AT_ONCE)

    async def has(self, user_id: int) -> bool | None:
        """Return whether the user shares a server with the bot; None if that is not known."""
        # Few at a time: many strangers must not use up the bot's requests.
        async with self._asking:
            until, known = self._answers.get(user_id, (0.0, False))
            if time.monotonic() < until:
                return known
            try:
                async with asyncio.timeout(_PATIENCE_S):
                    found = await self._ask(user_id)
            except TimeoutError:
                logger.warning("Discord did not say in time which servers %s is in", user_id)
                return None
            if found is not None:
                self._remember(user_id, found)
            return found

    async def _ask(self, user_id: int) -> bool | None:
        servers = await self._likely(user_id)
        sure = len(servers) <= _LOOKUPS
        for server in servers[:_LOOKUPS]:
            try:
                await server.fetch_member(user_id)
            except discord.NotFound:
                continue
            except (discord.DiscordException, aiohttp.ClientError, OSError) as error:
                logger.warning("is %s in server %s? %s", user_id, server.id, error)
                sure = False
            else:
                return True
        return False if sure else None

    async def _likely(self, user_id: int) -> list[discord.Guild]:
        """The bot's servers that count, those where the user has been before first."""
        before = await self._store.servers_of(user_id, _LOOKUPS)
        rank = {guild_id: place for place, guild_id in enumerate(before)}
        counting = [
            guild
            for guild in self._client.guilds
            if self._servers is None or guild.id in self._servers
        ]
        return sorted(counting, key=lambda guild: rank.get(guild.id, len(rank)))

    def _remember(self, user_id: int, found: bool) -> None:
        now = time.monotonic()
        if len(self._answers) >= _REMEMBERED:
            self._answers = {
                user: answer for user, answer in self._answers.items() if answer[0] > now
            }
            if len(self._answers) >= _REMEMBERED:
                self._answers.clear()
        self._answers[user_id] = (now + (_YES_S if found else _NO_S), found)
