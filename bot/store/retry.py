"""Writes that a job depends on, retried while the database is unavailable."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterable, Iterator
from typing import Final, TypeVar

from bot.store.errors import StoreError

logger = logging.getLogger(__name__)

_FIRST_S: Final = 1.0
_LONGEST_S: Final = 30.0

Result = TypeVar("Result")


def database_pauses() -> Iterator[float]:
    """Seconds between tries of a write that somebody waits for: 1, 2, 4, ... 30, without end.

    An operator who has made room does not wait for the bot.
    """
    pause = _FIRST_S
    while True:
        yield pause
        pause = min(2 * pause, _LONGEST_S)


async def retry_write(write: Callable[[], Awaitable[Result]], pauses: Iterable[float]) -> Result:
    """Try a write again until it succeeds, and return its result.

    Args:
        write: one transaction; a failed one has left nothing.
        pauses: seconds between the tries, e.g. `database_pauses()`; after the last the error is
            passed on.

    Raises:
        StoreError: of a kind that does not pass by itself, at once.
    """
    for pause in pauses:
        try:
            return await write()
        except StoreError as error:
            if not error.kind.passes:
                raise
            logger.error("%s; trying again in %.0f s", error, pause)
        await asyncio.sleep(pause)
    return await write()
