"""What users do wrong, what goes wrong by itself, and who is told."""

from __future__ import annotations

import contextlib
import logging
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import TYPE_CHECKING, Final, cast

import discord

from bot.acknowledge import NotAcknowledgedError
from bot.messages.answers import DiscordRefusedError, DiscordUnavailableError, call
from bot.messages.formatting import shortened
from bot.store import StoreError
from engine.serving import RequestError

if TYPE_CHECKING:
    from bot.app import Floor33Bot

logger = logging.getLogger(__name__)

_TIMEOUT_S: Final = 30.0


class UserError(Exception):
    """A mistake of the person who asked; the text is the sentence they get."""


@contextlib.asynccontextmanager
async def answering(interaction: discord.Interaction) -> AsyncIterator[None]:
    """Tell the user about their mistake, privately; anything else is raised on.

    The bot does not end while the block runs, unless it takes longer than the grace period.
    """
    bot = cast("Floor33Bot", interaction.client)
    with bot.shutdown.in_hand(interaction):
        try:
            yield
        except (UserError, RequestError) as error:
            await tell(interaction, str(error))
        except StoreError as error:
            logger.error("a command could not be carried out: %s", error)
            await tell(interaction, error.for_users)
        except NotAcknowledgedError as error:
            logger.warning("an interaction was not answered: %s", error)


async def tell(interaction: discord.Interaction, sentence: str) -> None:
    """Send the user one sentence that only they see, whatever has been answered so far."""
    sentence, response = shortened(sentence), interaction.response
    thinking = response.type is discord.InteractionResponseType.deferred_channel_message
    steps: list[Callable[[], Awaitable[object]]] = []
    if not response.is_done():
        steps.append(lambda: response.send_message(sentence, ephemeral=True))
    else:
        steps.append(lambda: interaction.followup.send(sentence, ephemeral=True))
    if thinking:
        # The first answer takes the place of the public "thinking" message, for everyone to read.
        steps.insert(0, lambda: interaction.edit_original_response(content="…"))
        steps.append(interaction.delete_original_response)
    for step in steps:
        try:
            await call(interaction.client, step, timeout_s=_TIMEOUT_S)
        except (DiscordUnavailableError, DiscordRefusedError) as error:
            logger.warning("user %s could not be told %r: %s", interaction.user.id, sentence, error)


async def report(interaction: discord.Interaction, error: BaseException) -> None:
    """Log an error of ours under a number and tell the user that number."""
    reference = secrets.token_hex(3)
    logger.error("interaction failed (%s)", reference, exc_info=error)
    await tell(interaction, f"Something went wrong on our side. It is logged as `{reference}`.")
