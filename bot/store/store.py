"""The store: everything the bot must not forget, in one SQLite file or on a PostgreSQL server."""

from __future__ import annotations

import asyncio
import contextlib
import sqlite3
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from sqlalchemy import false, update

from bot.store.backends.postgres import PostgresBackend, is_postgres_url
from bot.store.backends.sqlite import SqliteBackend
from bot.store.errors import StoreError
from bot.store.generations import Generations
from bot.store.jobs import Jobs
from bot.store.lease import Lease
from bot.store.maintenance.backup import backup_database
from bot.store.maintenance.migrate import migrate, migrate_server
from bot.store.people import People
from bot.store.privacy import Privacy
from bot.store.queries import History
from bot.store.ratings import Ratings
from bot.store.retention import Retention
from bot.store.session import Backend, Database, Observer
from bot.store.tables import User
from bot.store.users import Users

_LOG_WAIT_S: Final = 10.0


class Store(Jobs, Generations, History, People, Privacy, Ratings, Retention, Users):
    """Jobs, clips, ratings and users of one data folder.

    Every method is one transaction: it is wholly written when it returns, and not at all when it
    raises. Safe for many tasks of the event loop in which it was opened.
    """

    @classmethod
    async def open(cls, location: Path | str, *, observer: Observer | None = None) -> Self:
        """Open the database, after making or upgrading it where needed.

        Args:
            location: an SQLite file, or the address of a database on a PostgreSQL server, e.g.
                `postgresql://floor33@localhost/floor33`.
            observer: is told how long writes wait and which transactions fail.

        Raises StoreError with one clear line: folder not writable, not a database, made by a
        newer version, disk full, server not reached, wrong password.
        """
        if isinstance(location, Path):
            await asyncio.to_thread(migrate, location)
            return cls(Database(SqliteBackend(location), observer))
        if not is_postgres_url(location):
            raise StoreError("a database's address begins with postgresql://")
        server = PostgresBackend(location)
        try:
            await server.check_server()
            await migrate_server(server)
        except BaseException:
            await server.close()
            raise
        return cls(Database(server, observer))

    def __init__(self, database: Database) -> None:
        super().__init__(database)
        self.lease = Lease(database)

    @property
    def _backend(self) -> Backend:
        return self._database.backend

    @property
    def name(self) -> str:
        """The database in words: its file, or its address without a password."""
        return self._backend.name

    @property
    def path(self) -> Path:
        """The database file. Raises StoreError for a database on a server."""
        if self._backend.path is None:
            raise StoreError(f"database {self.name}: it is no file")
        return self._backend.path

    def check_present(self) -> None:
        """Raise DatabaseGoneError if the file at `path` is no longer the one that was opened.

        Whatever is written then would be lost with the last connection. Costs one `stat`; a
        database on a server is always there.
        """
        self._backend.check_present()

    async def rescue(self) -> bool:
        """Write the database back to its path if its file was removed; whether that was done.

        Raises StoreError or OSError if it was to be done and could not be.
        """
        return await self._backend.rescue()

    async def check_writable(self) -> None:
        """Raises StoreError if nothing can be written at the moment."""
        async with self._database.write() as session:
            await session.execute(update(User).where(false()).values(name=""))

    async def backup(self, destination: Path) -> None:
        """Copy the database file as it is now to another; see `backup_database`."""
        await asyncio.to_thread(backup_database, self.path, destination)

    async def truncate_log(self) -> bool:
        """Move an SQLite file's write-ahead log into it, so that it holds nothing of before.

        Returns whether that was possible: a reader of another program may be in the way. On a
        server, its own housekeeping does the same.
        """
        path = self._backend.path
        return path is None or await asyncio.to_thread(_truncate_log, path)

    async def claim(self) -> None:
        """Acquire the lease, by the name that this had before there was one for SQLite too."""
        await self.lease.acquire()

    async def close(self) -> None:
        """Release the lease and close every connection; later calls raise StoreError.

        May be called again.
        """
        await self.lease.release()
        await self._database.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.close()


def _truncate_log(path: Path) -> bool:
    with contextlib.closing(sqlite3.connect(path, timeout=_LOG_WAIT_S)) as database:
        (busy, *_) = database.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
        return not busy
