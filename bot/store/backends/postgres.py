"""PostgreSQL below the store: one pool of connections, for readers and writers.

The driver, asyncpg, is optional: everything of it is imported where it is used.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Final

from sqlalchemy import event
from sqlalchemy.exc import DisconnectionError
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession, create_async_engine
from sqlalchemy.pool import ConnectionPoolEntry

from bot.store.backends.postgres_connection import (
    connect,
    is_postgres_url,
    refuse_shared_sessions,
    shown,
)
from bot.store.backends.postgres_errors import translated
from bot.store.errors import StoreError

__all__ = ["MIGRATION_LOCK", "PostgresBackend", "is_postgres_url", "server_version", "shown"]

# Advisory locks are numbers that programs agree on; the second tells apart two bots that share a
# database, each in a schema of its own. Before the first migration there is no row to lock.
MIGRATION_LOCK: Final = "3891, hashtext(coalesce(current_schema(), ''))"


def _check_connected(_connection: object, record: ConnectionPoolEntry, _proxy: object) -> None:
    """Have a connection made anew that has ended since: the server was restarted, perhaps.

    The driver knows it without asking, so this costs no turn as SQLAlchemy's pings would.
    """
    driver = record.driver_connection
    if driver is not None and driver.is_closed():
        raise DisconnectionError


class PostgresBackend:
    """A database on a server that `migrate_server` has prepared. See `bot.store.session.Backend`.

    Raises StoreError if the driver is not installed.
    """

    path = None

    def __init__(self, dsn: str) -> None:
        if importlib.util.find_spec("asyncpg") is None:
            raise StoreError(
                "a PostgreSQL database needs the package asyncpg: pip install 'floor33[postgres]'"
            )
        self.name = shown(dsn)
        self._dsn = dsn
        # The driver reads the address itself: it knows all that libpq knows, .pgpass included.
        engine = create_async_engine(
            "postgresql+asyncpg://",
            async_creator=lambda: connect(dsn),
            pool_size=5,
            max_overflow=5,
            hide_parameters=True,
        )
        event.listen(engine.sync_engine, "checkout", _check_connected)
        self.writer: AsyncEngine = engine.execution_options(isolation_level="READ COMMITTED")
        self.reader: AsyncEngine = engine.execution_options(
            isolation_level="REPEATABLE READ", postgresql_readonly=True
        )

    @contextmanager
    def translated(self) -> Iterator[None]:
        """Turn what the driver raises into a StoreError, as the function of this name does."""
        with translated(self.name):
            yield

    def check_present(self) -> None:
        """Do nothing: a server's database cannot be moved while it is used."""

    async def rescue(self) -> bool:
        """Return False: see `check_present`."""
        return False

    async def begin_write(self, session: AsyncSession, *, wait: bool = True) -> None:
        """Begin the transaction; it locks the rows that it reads to change."""
        await session.connection()

    def read_now(self, query: str) -> Sequence[tuple[Any, ...]] | None:
        """Return None: a server is always waited for."""

    async def close(self) -> None:
        """Close every connection."""
        await self.reader.dispose()

    async def check_server(self) -> None:
        """Raise StoreError if the server, or a pooler before it, cannot be worked with."""
        with self.translated():
            await refuse_shared_sessions(self._dsn)


async def server_version(dsn: str) -> str:
    """The version of the server that has the database, e.g. "15.4". Raises StoreError."""
    backend = PostgresBackend(dsn)  # says what is missing
    with backend.translated():
        await refuse_shared_sessions(dsn)
        connection = await connect(dsn)
        try:
            return str(await connection.fetchval("SHOW server_version"))
        finally:
            await connection.close()
