"""The first answer to a command or a click, before anything that takes time."""

from __future__ import annotations

import asyncio
import logging
import time
from typing import Final, cast

import discord

from bot.errors import NotAcknowledgedError
from bot.messages.answers import DiscordRefusedError, DiscordUnavailableError, call
from bot.protocols import BotClient

logger = logging.getLogger(__name__)

_PAUSES_S: Final = (0.0, 0.25, 0.75, 1.5)
"""Between tries: Discord takes the first answer within three seconds only."""
_WINDOW_S: Final = 3.0
_TIMEOUT_S: Final = 20.0
_LOOKS: Final = 3


async def acknowledge(
    interaction: discord.Interaction, *, thinking: bool = True, ephemeral: bool = False
) -> int | None:
    """Show that the bot is at work, and return the message that will become the answer.

    Its id is stored with the job, so that a bot that is killed a moment later finds it again. None
    if there is no such message, or Discord does not tell.

    A try whose answer was lost is repeated; when Discord then says that the interaction has been
    answered, it was that first try.

    Args:
        interaction: a command or click, not yet answered.
        thinking: show a "thinking" message; for a click otherwise nothing changes.
        ephemeral: only the user sees the answer.

    Raises:
        NotAcknowledgedError: it came too late, another process has answered, or Discord is out of
            order. Nothing can be told to the user.
    """
    client = cast("BotClient", interaction.client)
    message_id = await _defer(client, interaction, thinking=thinking, ephemeral=ephemeral)
    _measure(client, interaction)
    if message_id is None and thinking:
        message_id = await _original_id(client, interaction)
    return message_id


async def _defer(
    client: BotClient, interaction: discord.Interaction, *, thinking: bool, ephemeral: bool
) -> int | None:
    """Acknowledge; return the message's id where the answer tells. Raises NotAcknowledgedError."""
    began, unanswered = time.perf_counter(), False
    for pause_s in (*_PAUSES_S, None):
        try:
            response = await call(
                client,
                lambda: interaction.response.defer(thinking=thinking, ephemeral=ephemeral),
                timeout_s=_TIMEOUT_S,
            )
        except DiscordUnavailableError as error:
            logger.warning("an acknowledgement got no answer: %s", error)
            # The library takes any answer that is no error for Discord's: ask, it will say.
            interaction.response._response_type = None
        except DiscordRefusedError as error:
            own = unanswered or client.http_trace.tried_before(interaction.id)
            if not (own and error.already_acknowledged):
                raise NotAcknowledgedError(str(error)) from error
            mark_deferred(interaction, thinking=thinking)
            return None
        else:
            return None if response is None else response.message_id
        if pause_s is None or (unanswered and time.perf_counter() - began > _WINDOW_S):
            break
        unanswered = True
        await asyncio.sleep(pause_s)
    raise NotAcknowledgedError("Discord is out of order")


def mark_deferred(interaction: discord.Interaction, *, thinking: bool) -> None:
    """Have the library know of an acknowledgement that it was not told of."""
    kind = discord.InteractionResponseType
    done = kind.deferred_channel_message if thinking else kind.deferred_message_update
    interaction.response._response_type = done


def _measure(client: BotClient, interaction: discord.Interaction) -> None:
    took = discord.utils.utcnow() - interaction.created_at
    name = "button" if interaction.command is None else interaction.command.qualified_name
    client.metrics.acknowledged(name, max(0.0, took.total_seconds()))


async def _original_id(client: BotClient, interaction: discord.Interaction) -> int | None:
    for _ in range(_LOOKS):
        try:
            message = await call(client, interaction.original_response, timeout_s=_TIMEOUT_S)
        except DiscordUnavailableError as error:
            logger.warning("the answer's message is not known: %s", error)
        except DiscordRefusedError as error:
            logger.warning("the answer's message is not known: %s", error)
            return None
        else:
            return message.id
    return None
