"""Writes that a job depends on, made again for as long as the database is out of order."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterable
from typing import Final, TypeVar

from bot.store import StoreError, Trouble

logger = logging.getLogger(__name__)

_PASSING: Final = frozenset({Trouble.BUSY, Trouble.FULL, Trouble.UNREACHABLE})
"""What an operator, or time, mends while the bot runs."""

Result = TypeVar("Result")


async def written(write: Callable[[], Awaitable[Result]], pauses: Iterable[float]) -> Result:
    """What a write returns, once it has been possible.

    Args:
        write: one transaction; a failed one has left nothing.
        pauses: seconds between the tries; after the last the error is passed on.

    Raises:
        StoreError: of a kind that does not pass by itself, at once.
    """
    for pause in pauses:
        try:
            return await write()
        except StoreError as error:
            if error.trouble not in _PASSING:
                raise
            logger.error("%s; trying again in %.0f s", error, pause)
        await asyncio.sleep(pause)
    return await write()
