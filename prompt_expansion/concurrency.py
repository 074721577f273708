"""Limit the requests that a server is sent at the same time."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator


class ConcurrencyLimit:
    """A semaphore for a server that may answer only one request at a time.

    A request that waits is given up when no request was answered for `stall_s`, because the server
    hangs then, and in any case after `max_wait_s`.

    Args:
        requests: most requests at the same time.
        stall_s: seconds without any answer after which the server is taken to hang.
        max_wait_s: most seconds that a request waits.
    """

    def __init__(self, requests: int, *, stall_s: float, max_wait_s: float) -> None:
        self._semaphore = asyncio.Semaphore(requests)
        self._stall_s = stall_s
        self._max_wait_s = max_wait_s
        self._answered_at = float("-inf")

    def note_answer(self) -> None:
        """Note that the server has answered a request."""
        self._answered_at = asyncio.get_running_loop().time()

    @contextlib.asynccontextmanager
    async def slot(self) -> AsyncIterator[None]:
        """Wait for a slot and hold it.

        Raises:
            TimeoutError: If the wait was given up.
        """
        loop = asyncio.get_running_loop()
        started_at = loop.time()
        acquired = asyncio.create_task(self._semaphore.acquire())
        try:
            while not acquired.done():
                hangs_at = max(started_at, self._answered_at) + self._stall_s
                left = min(hangs_at, started_at + self._max_wait_s) - loop.time()
                if left <= 0:
                    raise TimeoutError
                await asyncio.wait({acquired}, timeout=left)
            yield
        finally:
            if acquired.done():
                self._semaphore.release()
            else:
                acquired.cancel()
