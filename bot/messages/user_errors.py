"""Tell people of their mistakes and of errors of the bot's own."""

from __future__ import annotations

import contextlib
import logging
import secrets
from collections.abc import AsyncIterator
from typing import Any, Final, cast

import discord

from bot.errors import NotAcknowledgedError, UserError
from bot.messages.acknowledge import mark_deferred
from bot.messages.answers import DiscordRefusedError, DiscordUnavailableError, call, call_again
from bot.messages.formatting import shortened
from bot.messages.responses import replace_thinking
from bot.operations.shutdown import RESTARTING
from bot.protocols import BotClient
from bot.store import StoreError
from engine.serving import RequestError

logger = logging.getLogger(__name__)

_TIMEOUT_S: Final = 30.0
_NOT_TAKEN: Final = "Discord did not take the answer. Try again in a minute."


@contextlib.asynccontextmanager
async def user_errors(interaction: discord.Interaction) -> AsyncIterator[None]:
    """Tell the user about their mistake, privately; anything else is raised on.

    The bot does not end while the block runs, unless it takes longer than the grace period.
    """
    bot = cast("BotClient", interaction.client)
    with bot.shutdown.in_hand(interaction):
        try:
            yield
        except (UserError, RequestError) as error:
            await send_ephemeral(interaction, str(error))
        except StoreError as error:
            logger.error("a command could not be carried out: %s", error)
            await send_ephemeral(interaction, error.for_users)
        except NotAcknowledgedError as error:
            # Nobody can be told; Discord's client says so.
            logger.warning("an interaction was not answered: %s", error)
        except (DiscordRefusedError, DiscordUnavailableError) as error:
            logger.warning("an answer was not taken: %s", error)
            await send_ephemeral(interaction, _NOT_TAKEN)


async def send_ephemeral(interaction: discord.Interaction, sentence: str) -> None:
    """Send the user one sentence that only they see, whatever has been answered so far.

    Where Discord takes no new message, the sentence takes the place of "thinking", whoever sees it:
    that would stay for a quarter of an hour otherwise.
    """
    sentence, response = shortened(sentence), interaction.response
    try:
        if response.type is discord.InteractionResponseType.deferred_channel_message:
            await _send_instead_of_thinking(interaction, sentence)
        else:
            await send_private(interaction, content=sentence)
    except (DiscordUnavailableError, DiscordRefusedError) as error:
        logger.warning("user %s could not be told %r: %s", interaction.user.id, sentence, error)


async def _send_instead_of_thinking(interaction: discord.Interaction, sentence: str) -> None:
    bot = cast("BotClient", interaction.client)
    try:
        # The first answer takes the place of the public "thinking" message, for everyone to read.
        await call(
            bot, lambda: interaction.edit_original_response(content="…"), timeout_s=_TIMEOUT_S
        )
        await send_private(interaction, content=sentence)
    except (DiscordUnavailableError, DiscordRefusedError) as error:
        logger.info("user %s is told in another way: %s", interaction.user.id, error)
        pauses = bot.throttle.retries_s(patient=False)
        await replace_thinking(interaction, lambda: {"content": sentence}, pauses)
    else:
        await call_again(bot, interaction.delete_original_response, timeout_s=_TIMEOUT_S)


async def send_restarting(interaction: discord.Interaction) -> None:
    """Send the user, whose command was cut off, away until the bot has been restarted."""
    if not interaction.response.is_done():
        try:
            await call(
                interaction.client,
                lambda: interaction.response.send_message(RESTARTING, ephemeral=True),
                timeout_s=_TIMEOUT_S,
            )
        except DiscordUnavailableError as error:
            logger.warning("user %s could not be told: %s", interaction.user.id, error)
            return
        except DiscordRefusedError as error:
            if not error.already_acknowledged:
                logger.warning("user %s could not be told: %s", interaction.user.id, error)
                return
            # The acknowledgement that was cut off has reached Discord.
            mark_deferred(interaction, thinking=interaction.command is not None)
        else:
            return
    await send_ephemeral(interaction, RESTARTING)


async def send_private(interaction: discord.Interaction, **message: Any) -> None:
    """Answer an interaction, or add to the answer, with a message that only the user sees.

    Args:
        interaction: a command or a click.
        message: fields of `discord.Webhook.send`.

    Raises:
        DiscordRefusedError, DiscordUnavailableError: it was not sent.
    """
    bot, response = cast("BotClient", interaction.client), interaction.response

    async def send() -> None:
        if response.is_done():
            await interaction.followup.send(**message, ephemeral=True)
        else:
            await response.send_message(**message, ephemeral=True)

    try:
        await call_again(bot, send, timeout_s=_TIMEOUT_S)
    except DiscordRefusedError as error:
        if not error.already_acknowledged or not bot.http_trace.tried_before(interaction.id):
            raise
        # It was this very message, and the answer to it was lost.


async def report_internal_error(interaction: discord.Interaction, error: BaseException) -> None:
    """Log an error of ours under a number and tell the user that number."""
    reference = secrets.token_hex(3)
    logger.error("interaction failed (%s)", reference, exc_info=error)
    await send_ephemeral(
        interaction, f"Something went wrong on our side. It is logged as `{reference}`."
    )
