"""The tree of commands: what it lets through, and where errors of commands end."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any, Final, cast

import discord
from discord import app_commands

from bot.commands.signature import fits_signature
from bot.lifecycle.events import UNREADABLE
from bot.lifecycle.login import READING_ERRORS
from bot.messages.user_errors import report_internal_error, send_ephemeral, user_errors
from bot.protocols import BotClient

logger = logging.getLogger(__name__)

_OTHER_VERSION: Final = (app_commands.CommandNotFound, app_commands.CommandSignatureMismatch)
OTHER_COMMAND: Final = (
    "This command is of another version of the bot. Reload Discord and type it again; if it stays, "
    "whoever runs the bot has to run `python -m bot sync`."
)


class StudioTree(app_commands.CommandTree[BotClient]):
    """The commands, with one place for whatever their callbacks raise."""

    async def interaction_check(self, interaction: discord.Interaction[BotClient], /) -> bool:
        """Leave the answer to the bot that has taken over, and refuse other versions' options."""
        if not await interaction.client.may_answer(interaction):
            return False
        if interaction.type is discord.InteractionType.application_command and not fits_signature(
            self, cast("Mapping[str, Any]", interaction.data or {})
        ):
            async with user_errors(interaction):
                await send_ephemeral(interaction, OTHER_COMMAND)
            return False
        return True

    async def _call(self, interaction: discord.Interaction[BotClient]) -> None:
        try:
            await super()._call(interaction)
        except app_commands.AppCommandError:
            raise
        except READING_ERRORS as error:
            # Whatever a command's own code raises is an AppCommandError by now.
            interaction.client.events.skip("INTERACTION_CREATE", interaction.data, error)
            await send_ephemeral(interaction, UNREADABLE)

    async def on_error(
        self, interaction: discord.Interaction[BotClient], error: app_commands.AppCommandError
    ) -> None:
        """Tell the user, and log what is our fault."""
        if isinstance(error, _OTHER_VERSION):
            logger.warning("a command is of another version: %s", error)
            await send_ephemeral(interaction, OTHER_COMMAND)
            return
        if isinstance(error, (app_commands.CheckFailure, app_commands.TransformerError)):
            await send_ephemeral(interaction, str(error))
            return
        await report_internal_error(interaction, getattr(error, "original", error))
