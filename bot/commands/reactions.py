"""Turn thumbs under a clip into ratings: one per user, the latest counts."""

from __future__ import annotations

import asyncio
import functools
import logging
import weakref
from collections.abc import Awaitable, Callable
from typing import Final

import discord
from discord.ext import commands

from bot.messages.answers import DiscordRefusedError, DiscordUnavailableError, call
from bot.messages.thumbs import THUMBS, all_raters, rating_value, spellings, values_of
from bot.protocols import BotClient
from bot.store import RatingRecord

logger = logging.getLogger(__name__)

_MAX_ID: Final = 2**63 - 1
"""The largest id that the database holds; Discord's own are far below it."""
_LOOK_S: Final = 30.0
_RATERS_S: Final = 120.0
_REFUSALS: Final = (DiscordRefusedError, DiscordUnavailableError)


class RatingReactions(commands.Cog):
    """Listens to raw events, so that messages from before the last start count too.

    Discord tells each thing once. What has been told is carried out on the bot's background, for
    each message in the order in which it was told, however long the database takes.
    """

    def __init__(self, bot: BotClient) -> None:
        self._bot = bot
        self._locks: weakref.WeakValueDictionary[int, asyncio.Lock] = weakref.WeakValueDictionary()

    @commands.Cog.listener()
    async def on_raw_reaction_add(self, payload: discord.RawReactionActionEvent) -> None:
        """A thumb replaces the user's earlier one."""
        value = rating_value(payload.emoji)
        if value is not None and not self._is_bot(payload) and payload.user_id <= _MAX_ID:
            await self._in_order(payload.message_id, lambda: self._given(payload, value))

    @commands.Cog.listener()
    async def on_raw_reaction_remove(self, payload: discord.RawReactionActionEvent) -> None:
        """Taking the thumb away takes the rating back, unless the user shows another one."""
        value = rating_value(payload.emoji)
        if value is not None and not self._is_bot(payload) and payload.user_id <= _MAX_ID:
            await self._in_order(payload.message_id, lambda: self._taken_back(payload, value))

    @commands.Cog.listener()
    async def on_raw_reaction_clear(self, payload: discord.RawReactionClearEvent) -> None:
        """A moderator removed all reactions."""
        number = payload.message_id
        await self._in_order(number, lambda: self._clear(number))

    @commands.Cog.listener()
    async def on_raw_reaction_clear_emoji(
        self, payload: discord.RawReactionClearEmojiEvent
    ) -> None:
        """A moderator removed all reactions of one emoji; those of other skin tones stay."""
        value = rating_value(payload.emoji)
        if value is not None:
            await self._in_order(payload.message_id, lambda: self._emoji_gone(payload, value))

    @commands.Cog.listener()
    async def on_raw_message_delete(self, payload: discord.RawMessageDeleteEvent) -> None:
        """Without its message a clip counts as deleted, and a job has nowhere to go."""
        await self.on_message_deleted(payload.message_id)

    @commands.Cog.listener()
    async def on_raw_bulk_message_delete(self, payload: discord.RawBulkMessageDeleteEvent) -> None:
        """Treat each of many messages as `on_raw_message_delete` does."""
        await asyncio.gather(*(self.on_message_deleted(number) for number in payload.message_ids))

    async def on_message_deleted(self, message_id: int) -> None:
        """Carry out that a message was deleted, as soon as the database allows it."""
        await self._in_order(message_id, lambda: self._bot.jobs.on_message_deleted(message_id))

    async def align(self, message: discord.Message) -> None:
        """Make the ratings of the clip those that its message shows.

        Of both thumbs of one user the later one counts, and only events tell which that is: a
        rating that is one of the two stays, and where there is none none is made.

        Raises DiscordRefusedError, DiscordUnavailableError.
        """
        shown = await call(self._bot, lambda: all_raters(message), timeout_s=_RATERS_S)
        stored = await self._stored(message.id)
        for user_id, rater in shown.items():
            if stored.get(user_id) not in rater.values and len(rater.values) == 1:
                await self._rate(message.id, user_id, rater.name, *rater.values)
        for user_id in stored.keys() - shown.keys():
            await self._unrate(message.id, user_id)

    async def look(self, channel_id: int, message_id: int) -> None:
        """Fetch the message and `align` its ratings, in turn with what events tell of it.

        Raises DiscordRefusedError, DiscordUnavailableError.
        """
        async with self._lock(message_id):
            await self.align(await self._fetch(channel_id, message_id))

    # ------------------------------------------------------------------ what was told

    async def _given(self, payload: discord.RawReactionActionEvent, value: int) -> None:
        user = payload.member or self._bot.get_user(payload.user_id)
        name = None if user is None else user.name
        rating = await self._rate(payload.message_id, payload.user_id, name, value)
        if rating is not None and rating.created_at != rating.updated_at:
            await self._take_back_other(payload, value)

    async def _taken_back(self, payload: discord.RawReactionActionEvent, value: int) -> None:
        number, user_id = payload.message_id, payload.user_id
        if (await self._stored(number)).get(user_id) != value:
            return
        try:
            message = await self._fetch(payload.channel_id, number)
            request = functools.partial(values_of, message, user_id)
            shown = await call(self._bot, request, timeout_s=_LOOK_S)
        except _REFUSALS as error:
            # Most users have one thumb only.
            logger.info("the thumbs on message %s cannot be read: %s", number, error)
            shown = frozenset()
        if value in shown:
            return
        if shown:
            await self._rate(number, user_id, None, *shown)
        else:
            await self._unrate(number, user_id)

    async def _emoji_gone(self, payload: discord.RawReactionClearEmojiEvent, value: int) -> None:
        number = payload.message_id
        if not await self._stored(number):
            return
        try:
            await self.align(await self._fetch(payload.channel_id, number))
        except _REFUSALS as error:
            logger.info("the thumbs on message %s cannot be read: %s", number, error)
            if payload.emoji.name in THUMBS:
                # The usual spelling: hardly anybody's rating is left.
                await self._clear(number, value)

    async def _take_back_other(self, payload: discord.RawReactionActionEvent, value: int) -> None:
        """Remove the thumb that no longer counts, whatever its skin tone, where the bot may."""
        if payload.member is None or payload.guild_id is None:
            return
        guild = self._bot.get_guild(payload.guild_id)
        channel = None if guild is None else guild.get_channel_or_thread(payload.channel_id)
        if guild is None or channel is None:
            return
        if not channel.permissions_for(guild.me).manage_messages:
            return
        try:
            message = await self._fetch(payload.channel_id, payload.message_id)
            for emoji in spellings(message, -value):
                remove = functools.partial(message.remove_reaction, emoji, payload.member)
                await call(self._bot, remove, timeout_s=_LOOK_S)
        except _REFUSALS as error:
            logger.debug("the earlier thumb on %s stays: %s", payload.message_id, error)

    # --------------------------------------------------------------------- the writes

    async def _stored(self, message_id: int) -> dict[int, int]:
        return await self._bot.services.write(lambda store: store.message_ratings(message_id))

    async def _rate(
        self, message_id: int, user_id: int, name: str | None, value: int
    ) -> RatingRecord | None:
        return await self._bot.services.write(
            lambda store: store.rate(message_id, user_id, name, value=value)
        )

    async def _unrate(self, message_id: int, user_id: int) -> None:
        await self._bot.services.write(lambda store: store.unrate(message_id, user_id))

    async def _clear(self, message_id: int, value: int | None = None) -> None:
        await self._bot.services.write(lambda store: store.clear_ratings(message_id, value))

    # -------------------------------------------------------------------------- order

    async def _in_order(self, message_id: int, work: Callable[[], Awaitable[None]]) -> None:
        """Carry out `work` on the background, after what was told of the message before."""
        if not 0 <= message_id <= _MAX_ID:
            return
        lock = self._lock(message_id)

        async def in_turn() -> None:
            async with lock:
                await work()

        await self._bot.background.run(in_turn)

    def _lock(self, message_id: int) -> asyncio.Lock:
        lock = self._locks.get(message_id)
        if lock is None:
            lock = self._locks[message_id] = asyncio.Lock()
        return lock

    async def _fetch(self, channel_id: int, message_id: int) -> discord.Message:
        message = self._bot.get_partial_messageable(channel_id).get_partial_message(message_id)
        return await call(self._bot, message.fetch, timeout_s=_LOOK_S)

    def _is_bot(self, payload: discord.RawReactionActionEvent) -> bool:
        own = self._bot.user
        if own is not None and payload.user_id == own.id:
            return True
        user = payload.member or self._bot.get_user(payload.user_id)
        return user is not None and user.bot


async def setup(bot: BotClient) -> None:
    """Add the listeners; catching up after a pause uses them, too."""
    bot.ratings = RatingReactions(bot)
    await bot.add_cog(bot.ratings)
