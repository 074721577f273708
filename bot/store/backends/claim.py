"""The claim on a PostgreSQL database, held by the bot that was started last."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from itertools import count
from typing import TYPE_CHECKING, Any, Final

from bot.store.backends.postgres import CLAIM_HOLDERS, CLAIM_LOCK, backend_pid, connect, translated
from bot.store.errors import StoreError, Trouble

if TYPE_CHECKING:
    import asyncpg

logger = logging.getLogger(__name__)

_PATIENCE_S: Final = 10.0
_CLOSE_S: Final = 2.0
_RETRY_S: Final = 0.05
# Longer than a retry: whoever ended our connection to take over must be faster than we are.
_PAUSES_S: Final = (1.0, 2.0, 5.0, 15.0)


class Claim:
    """A lock of the server that lasts as long as one connection, so that no crash leaves it behind.

    Whoever claims the database later ends that connection and takes the lock. A connection that
    merely broke is made again, and the claim stands if nobody took it meanwhile.

    Args:
        dsn: the database's address.
        name: the database in errors.
    """

    def __init__(self, dsn: str, name: str) -> None:
        self._dsn = dsn
        self._name = name
        self._connection: asyncpg.Connection[Any] | None = None
        self._retaking: asyncio.Task[None] | None = None
        self._closed = False
        self.pid = 0
        self.lost = False

    async def take(self) -> None:
        """Take the lock from whoever has it.

        Raises StoreError if the holder cannot be ended, and what the driver raises.
        """
        connection = await self._connect()
        loop = asyncio.get_running_loop()
        until = loop.time() + _PATIENCE_S
        try:
            while not await connection.fetchval(f"SELECT pg_try_advisory_lock({CLAIM_LOCK})"):
                if loop.time() > until:
                    raise StoreError(
                        f"database {self._name}: another bot does not let go of it",
                        trouble=Trouble.BUSY,
                    )
                for row in await connection.fetch(CLAIM_HOLDERS):
                    await connection.fetchval("SELECT pg_terminate_backend($1)", row["pid"])
                await asyncio.sleep(_RETRY_S)
            await self._keep(connection)
        except BaseException:
            connection.terminate()
            raise

    async def close(self) -> None:
        """Let go of the claim."""
        self._closed = True
        if self._retaking is not None:
            self._retaking.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._retaking
        if self._connection is not None and not self._connection.is_closed():
            await self._connection.close(timeout=_CLOSE_S)

    async def _connect(self) -> asyncpg.Connection[Any]:
        connection: asyncpg.Connection[Any] = await connect(self._dsn)
        return connection

    async def _keep(self, connection: asyncpg.Connection[Any]) -> None:
        self.pid = await backend_pid(connection)
        self._connection = connection
        connection.add_termination_listener(self._ended)

    def _ended(self, _connection: object) -> None:
        if not self._closed:
            self._retaking = asyncio.get_running_loop().create_task(self._retake())

    async def _retake(self) -> None:
        for attempt in count():
            await asyncio.sleep(_PAUSES_S[min(attempt, len(_PAUSES_S) - 1)])
            try:
                with translated(self._name):
                    if await self._taken_back():
                        return
            except StoreError as error:
                logger.warning("%s", error)
                continue
            self.lost = True
            logger.error("database %s: another bot has taken over", self._name)
            return

    async def _taken_back(self) -> bool:
        """Try to take the claim back; return False if somebody else has taken it meanwhile."""
        connection = await self._connect()
        try:
            if await connection.fetchval(f"SELECT pg_try_advisory_lock({CLAIM_LOCK})"):
                await self._keep(connection)
                return True
            await connection.close(timeout=_CLOSE_S)
        except BaseException:
            connection.terminate()
            raise
        return False
