"""Take a message away from Discord."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import Final

import discord

from bot.errors import UserError
from bot.messages.answers import DiscordRefusedError, DiscordUnavailableError, call

logger = logging.getLogger(__name__)

_TIMEOUT_S: Final = 30.0


async def remove_message(
    client: discord.Client,
    ways: Sequence[Callable[[], Awaitable[object]]],
    pauses: Iterable[float],
) -> None:
    """Delete a message in the first of several ways that works; gone already is fine, too.

    Args:
        client: the bot.
        ways: each makes the request once.
        pauses: seconds between the tries while Discord is out of order.

    Raises:
        UserError: it is still there; the text says why.
    """
    for pause in (*pauses, None):
        try:
            return await _once(client, ways)
        except DiscordUnavailableError as error:
            logger.warning("a message could not be deleted: %s", error)
        if pause is not None:
            await asyncio.sleep(pause)
    raise UserError(
        "Discord is out of order, so the message could not be deleted. Nothing was removed; "
        "try again later."
    )


async def _once(client: discord.Client, ways: Sequence[Callable[[], Awaitable[object]]]) -> None:
    """Try each way. Raises UserError if all are refused, DiscordUnavailableError if one may do."""
    refused: DiscordRefusedError | None = None
    unavailable: DiscordUnavailableError | None = None
    for way in ways:
        try:
            await call(client, way, timeout_s=_TIMEOUT_S)
        except DiscordRefusedError as error:
            if error.message_gone or error.channel_gone:
                return
            refused = error
        except DiscordUnavailableError as error:
            unavailable = error
        else:
            return
    if unavailable is not None:
        raise unavailable
    logger.warning("a message may not be deleted: %s", refused)
    raise UserError(
        "Discord does not let the bot delete this message, so nothing was removed. A moderator "
        "can delete it."
    )
