"""Answer an interaction for which "thinking" is shown to its user alone."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Iterable
from typing import Any, Final

import discord

from bot.messages.answers import DiscordUnavailableError, call

logger = logging.getLogger(__name__)

_TIMEOUT_S: Final = 30.0
_LONGEST_S: Final = 120.0
"""Nobody looks at "thinking" for longer."""


async def replace_thinking(
    interaction: discord.Interaction,
    message: Callable[[], dict[str, Any]],
    pauses: Iterable[float],
    *,
    timeout_s: float = _TIMEOUT_S,
) -> None:
    """Put a message in the place of "thinking", seen by whom that is seen by.

    It is an edit, which may take effect twice: a message that is sent is there twice when the
    first answer was lost, and discord.py repeats requests by itself.

    Args:
        interaction: acknowledged with "thinking".
        message: makes the fields of `discord.Interaction.edit_original_response` for one try;
            files can be sent once.
        pauses: seconds between the tries while Discord is out of order; two minutes in all.
        timeout_s: seconds that one try may take.

    Raises:
        DiscordRefusedError, UploadTooLargeError: Discord said no.
        DiscordUnavailableError: it stayed out of order.
    """
    began = time.perf_counter()
    for pause_s in (*pauses, None):
        try:
            await call(
                interaction.client,
                lambda: interaction.edit_original_response(**message()),
                timeout_s=timeout_s,
            )
        except DiscordUnavailableError as error:
            wait_s = max(pause_s or 0.0, error.retry_after_s)
            if pause_s is None or time.perf_counter() - began + wait_s > _LONGEST_S:
                raise
            logger.info("an answer is tried again in %g s: %s", wait_s, error)
            await asyncio.sleep(wait_s)
        else:
            return
