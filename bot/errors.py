"""What users do wrong, what goes wrong by itself, and who is told."""

from __future__ import annotations

import contextlib
import logging
import secrets
from collections.abc import AsyncIterator

import discord

from engine.serving import RequestError

logger = logging.getLogger(__name__)


class UserError(Exception):
    """A mistake of the person who asked; the text is the sentence they get."""


@contextlib.asynccontextmanager
async def answering(interaction: discord.Interaction) -> AsyncIterator[None]:
    """Tell the user about their mistake, privately; anything else is raised on."""
    try:
        yield
    except (UserError, RequestError) as error:
        await tell(interaction, str(error))


async def tell(interaction: discord.Interaction, sentence: str) -> None:
    """Send the user one sentence that only they see, whatever has been answered so far."""
    try:
        if not interaction.response.is_done():
            await interaction.response.send_message(sentence, ephemeral=True)
            return
        thinking = discord.InteractionResponseType.deferred_channel_message
        if interaction.response.type is not thinking:
            await interaction.followup.send(sentence, ephemeral=True)
            return
        # The first answer takes the place of the public "thinking" message, for everyone to read.
        await interaction.edit_original_response(content="…", embed=None, view=None)
        await interaction.followup.send(sentence, ephemeral=True)
        await interaction.delete_original_response()
    except discord.HTTPException as error:
        logger.warning("user %s could not be told %r: %s", interaction.user.id, sentence, error)


async def report(interaction: discord.Interaction, error: BaseException) -> None:
    """Log an error of ours under a number and tell the user that number."""
    reference = secrets.token_hex(3)
    logger.error("interaction failed (%s)", reference, exc_info=error)
    await tell(interaction, f"Something went wrong on our side. It is logged as `{reference}`.")
