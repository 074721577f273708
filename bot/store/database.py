"""The connection to SQLite: pragmas, transactions, and errors put into words."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any, Final

from sqlalchemy import URL, Connection, Engine, event
from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.ext.asyncio import AsyncSession, create_async_engine

from bot.store.errors import StoreError

BUSY_TIMEOUT_MS: Final = 10_000
_WRITE_OPTION: Final = "floor33_write"

_WORDS: Final = {
    sqlite3.SQLITE_FULL: "the disk is full",
    sqlite3.SQLITE_NOTADB: "the file is not an SQLite database",
    sqlite3.SQLITE_CORRUPT: "the database file is damaged; restore a backup",
    sqlite3.SQLITE_CANTOPEN: "the file cannot be opened",
    sqlite3.SQLITE_READONLY: "the file may not be written",
    sqlite3.SQLITE_PERM: "the file may not be accessed",
    sqlite3.SQLITE_BUSY: "another program keeps the database locked",
    sqlite3.SQLITE_LOCKED: "another program keeps the database locked",
    sqlite3.SQLITE_IOERR: "reading or writing the file failed",
}


def _driver_error(error: BaseException) -> sqlite3.Error | None:
    """The sqlite3 error below SQLAlchemy's wrappers, if there is one."""
    seen: BaseException | None = error
    while seen is not None and not isinstance(seen, sqlite3.Error):
        seen = getattr(seen, "orig", None) or seen.__cause__
    return seen


def describe(path: Path, error: BaseException) -> str:
    """One line that says what is wrong with the database at `path`."""
    driver = _driver_error(error)
    # Extended codes keep the primary code in their low byte.
    code = getattr(driver, "sqlite_errorcode", None)
    words = None if code is None else _WORDS.get(code & 0xFF)
    detail = str(driver if driver is not None else error).splitlines()[0]
    return f"database {path}: {words} ({detail})" if words else f"database {path}: {detail}"


@contextmanager
def translated(path: Path) -> Iterator[None]:
    """Turn what the driver raises into a StoreError with one clear line."""
    try:
        yield
    except (DBAPIError, PoolTimeout, sqlite3.Error) as error:
        raise StoreError(describe(path, error)) from error
    except UnicodeEncodeError as error:  # half a surrogate pair: valid in JSON, not in UTF-8
        raise StoreError(f"a text cannot be stored: {error.reason}") from error


def database_url(path: Path, driver: str) -> URL:
    """The SQLAlchemy address of an SQLite file."""
    return URL.create(driver, database=str(path))


def install_pragmas(engine: Engine, *, migrating: bool = False) -> None:
    """Give each new connection its pragmas, and leave BEGIN to SQLAlchemy.

    `migrating`: foreign keys are off, because SQLite changes a table by making it anew, which
    would cascade.

    Python's sqlite3 begins a transaction only before INSERT, UPDATE and DELETE: reads and DDL
    would run outside. With `isolation_level = None` it stays out of the way, and the "begin"
    listener opens every transaction itself: IMMEDIATE for writers, because a reader that turns
    writer fails at once when another writer was faster, whatever the busy timeout.
    """

    @event.listens_for(engine, "connect")
    def _connected(connection: Any, _record: object) -> None:
        connection.isolation_level = None
        cursor = connection.cursor()
        try:
            cursor.execute(f"PRAGMA busy_timeout = {BUSY_TIMEOUT_MS}")
            cursor.execute("PRAGMA synchronous = FULL")  # an acknowledged job survives a power cut
            cursor.execute(f"PRAGMA foreign_keys = {'OFF' if migrating else 'ON'}")
        finally:
            cursor.close()

    @event.listens_for(engine, "begin")
    def _begin(connection: Connection) -> None:
        writes = connection.get_execution_options().get(_WRITE_OPTION, False)
        connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")


def writing(engine: Engine) -> Engine:
    """The same engine, whose transactions take the write lock when they begin."""
    return engine.execution_options(**{_WRITE_OPTION: True})


class Database:
    """One SQLite file, for one event loop. Transactions come from `read` and `write`."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._engine = create_async_engine(database_url(path, "sqlite+aiosqlite"))
        install_pragmas(self._engine.sync_engine)
        self._writer = self._engine.execution_options(**{_WRITE_OPTION: True})
        # SQLite has one writer. Waiting here is fair; waiting in SQLite is a polled lottery.
        self._write_lock = asyncio.Lock()
        self._closed = False

    @asynccontextmanager
    async def read(self) -> AsyncIterator[AsyncSession]:
        """A session that sees one moment of the database. Raises StoreError."""
        self._check_open()
        with translated(self.path):
            async with AsyncSession(self._engine, expire_on_commit=False) as session:
                yield session

    @asynccontextmanager
    async def write(self) -> AsyncIterator[AsyncSession]:
        """A session that commits when the block ends and rolls back if it raises. StoreError."""
        self._check_open()
        async with self._write_lock:
            with translated(self.path):
                session = AsyncSession(self._writer, expire_on_commit=False)
                async with session, session.begin():
                    yield session

    async def close(self) -> None:
        """Finish the running write, then close every connection. May be called again."""
        self._closed = True
        async with self._write_lock:
            await self._engine.dispose()

    def _check_open(self) -> None:
        if self._closed:
            raise StoreError(f"database {self.path}: the store is closed")
