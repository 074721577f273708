"""Thumbs under a clip become ratings: one per user, the latest counts, taken back at any time."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Final

import discord
from discord.ext import commands

if TYPE_CHECKING:
    from bot.app import Floor33Bot

logger = logging.getLogger(__name__)

UP: Final = "👍"
DOWN: Final = "👎"
THUMBS: Final = (UP, DOWN)
_VALUES: Final = {UP: 1, DOWN: -1}
_SKIN_TONES: Final = "".join(chr(code) for code in range(0x1F3FB, 0x1F400))


def rating_value(emoji: discord.PartialEmoji) -> int | None:
    """+1 or -1 for a thumb of any skin tone, None for everything else."""
    if emoji.is_custom_emoji():
        return None
    return _VALUES.get(emoji.name.rstrip(_SKIN_TONES))


class Ratings(commands.Cog):
    """Listens to raw events, so that messages from before the last start count too."""

    def __init__(self, bot: Floor33Bot) -> None:
        self._bot = bot

    @commands.Cog.listener()
    async def on_raw_reaction_add(self, payload: discord.RawReactionActionEvent) -> None:
        """A thumb replaces the user's earlier one."""
        value = rating_value(payload.emoji)
        if value is None or self._is_bot(payload):
            return
        store = self._bot.store
        user = payload.member or self._bot.get_user(payload.user_id)
        name = user.name if user is not None else str(payload.user_id)
        rating = await store.rate(payload.message_id, payload.user_id, name, value=value)
        if rating is not None and rating.created_at != rating.updated_at:
            await self._take_back_other(payload, value)

    @commands.Cog.listener()
    async def on_raw_reaction_remove(self, payload: discord.RawReactionActionEvent) -> None:
        """Taking the thumb away takes the rating back, unless another one has replaced it."""
        value = rating_value(payload.emoji)
        if value is not None and not self._is_bot(payload):
            await self._bot.store.unrate(payload.message_id, payload.user_id, value)

    @commands.Cog.listener()
    async def on_raw_reaction_clear(self, payload: discord.RawReactionClearEvent) -> None:
        """A moderator removed all reactions."""
        await self._bot.store.clear_ratings(payload.message_id)

    @commands.Cog.listener()
    async def on_raw_reaction_clear_emoji(
        self, payload: discord.RawReactionClearEmojiEvent
    ) -> None:
        """A moderator removed all reactions of one kind."""
        value = rating_value(payload.emoji)
        if value is not None:
            await self._bot.store.clear_ratings(payload.message_id, value)

    @commands.Cog.listener()
    async def on_raw_message_delete(self, payload: discord.RawMessageDeleteEvent) -> None:
        """Without its message a clip counts as deleted, and a job has nowhere to go."""
        await self._bot.studio.message_gone(payload.message_id)

    @commands.Cog.listener()
    async def on_raw_bulk_message_delete(self, payload: discord.RawBulkMessageDeleteEvent) -> None:
        """As above, for many at once."""
        for message_id in payload.message_ids:
            await self._bot.studio.message_gone(message_id)

    def _is_bot(self, payload: discord.RawReactionActionEvent) -> bool:
        own = self._bot.user
        if own is not None and payload.user_id == own.id:
            return True
        user = payload.member or self._bot.get_user(payload.user_id)
        return user is not None and user.bot

    async def _take_back_other(self, payload: discord.RawReactionActionEvent, value: int) -> None:
        """Where the bot may, remove the thumb that no longer counts."""
        if payload.member is None or payload.guild_id is None:
            return
        guild = self._bot.get_guild(payload.guild_id)
        channel = None if guild is None else guild.get_channel_or_thread(payload.channel_id)
        if guild is None or channel is None:
            return
        if not channel.permissions_for(guild.me).manage_messages:
            return
        other = DOWN if value > 0 else UP
        message = self._bot.get_partial_messageable(payload.channel_id).get_partial_message(
            payload.message_id
        )
        try:
            await message.remove_reaction(other, payload.member)
        except discord.HTTPException as error:
            logger.debug("the earlier thumb on %s stays: %s", payload.message_id, error)
