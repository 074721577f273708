"""Let a few requests be under way at once, and the others wait in line."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator


class Line:
    """A line in front of a server that may answer only one request at a time.

    Who stands in line gives up when nobody got an answer for `patience_s`, because the server
    stands still then, and in any case after `longest_wait_s`.
    """

    def __init__(self, places: int, *, patience_s: float, longest_wait_s: float) -> None:
        self._places = asyncio.Semaphore(places)
        self._patience_s = patience_s
        self._longest_wait_s = longest_wait_s
        self._moved_at = float("-inf")

    def moved(self) -> None:
        """Note that the server has answered somebody."""
        self._moved_at = asyncio.get_running_loop().time()

    @contextlib.asynccontextmanager
    async def turn(self) -> AsyncIterator[None]:
        """Wait for one of the places and hold it.

        Raises:
            TimeoutError: If the wait was given up.
        """
        loop = asyncio.get_running_loop()
        joined_at = loop.time()
        place = asyncio.create_task(self._places.acquire())
        try:
            while not place.done():
                patient_until = max(joined_at, self._moved_at) + self._patience_s
                left = min(patient_until, joined_at + self._longest_wait_s) - loop.time()
                if left <= 0:
                    raise TimeoutError
                await asyncio.wait({place}, timeout=left)
            yield
        finally:
            if place.done():
                self._places.release()
            else:
                place.cancel()
