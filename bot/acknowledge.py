"""The first answer to a command or a click, before anything that takes time."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

import discord

if TYPE_CHECKING:
    from bot.app import Floor33Bot


async def acknowledge(interaction: discord.Interaction) -> int | None:
    """Show that the bot is at work; returns the message that will become the job's card.

    Its id is stored with the job, so that a bot that is killed a moment later finds it again. None
    if Discord does not tell.
    """
    response = await interaction.response.defer(thinking=True)
    took = discord.utils.utcnow() - interaction.created_at
    name = "button" if interaction.command is None else interaction.command.qualified_name
    metrics = cast("Floor33Bot", interaction.client).metrics
    metrics.acknowledged(name, max(0.0, took.total_seconds()))
    return None if response is None else response.message_id
