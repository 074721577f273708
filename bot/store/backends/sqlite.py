"""SQLite below the store: pragmas, who may write, and errors put into words."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Any, Final

from sqlalchemy import URL, Connection, Engine, event
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession, create_async_engine

from bot.files import PRIVATE_FILE
from bot.store.errors import DatabaseGoneError, ErrorKind, StoreError
from bot.store.identity import FileIdentity

BUSY_TIMEOUT_MS: Final = 10_000
_WRITE_OPTION: Final = "floor33_write"
_WAIT_OPTION: Final = "floor33_wait"

_LOCKED: Final = (ErrorKind.BUSY, "another program keeps the database locked")
_WORDS: Final = {
    sqlite3.SQLITE_FULL: (ErrorKind.FULL, "the disk is full"),
    sqlite3.SQLITE_NOTADB: (ErrorKind.DAMAGED, "the file is not an SQLite database"),
    sqlite3.SQLITE_CORRUPT: (ErrorKind.DAMAGED, "the database file is damaged; restore a backup"),
    sqlite3.SQLITE_CANTOPEN: (ErrorKind.DENIED, "the file cannot be opened"),
    sqlite3.SQLITE_READONLY: (ErrorKind.DENIED, "the file may not be written"),
    sqlite3.SQLITE_PERM: (ErrorKind.DENIED, "the file may not be accessed"),
    sqlite3.SQLITE_AUTH: (ErrorKind.DENIED, "the file may not be accessed"),
    sqlite3.SQLITE_BUSY: _LOCKED,
    sqlite3.SQLITE_LOCKED: _LOCKED,
    sqlite3.SQLITE_PROTOCOL: _LOCKED,
    sqlite3.SQLITE_NOMEM: (ErrorKind.BUSY, "there is too little memory"),
    sqlite3.SQLITE_IOERR: (ErrorKind.IO, "reading or writing the file failed"),
    sqlite3.SQLITE_CONSTRAINT: (ErrorKind.OTHER, "a row contradicts a rule of the database"),
}
_UNKNOWN: Final = (ErrorKind.OTHER, "")
# SQLITE_READONLY_DBMOVED, which sqlite3 has no name for in every version.
_MOVED: Final = sqlite3.SQLITE_READONLY | (4 << 8)


def _driver_error(error: BaseException) -> sqlite3.Error | None:
    """The sqlite3 error below SQLAlchemy's wrappers, if there is one."""
    seen: BaseException | None = error
    while seen is not None and not isinstance(seen, sqlite3.Error):
        seen = getattr(seen, "orig", None) or seen.__cause__
    return seen


def translate_db_error(path: Path, error: BaseException) -> StoreError:
    """One line that says what is wrong with the database at `path`; no value of a row."""
    driver = _driver_error(error)
    code = getattr(driver, "sqlite_errorcode", None)
    if code == _MOVED:
        return DatabaseGoneError(str(path), "its file was moved or removed")
    # Extended codes keep the primary code in their low byte.
    kind, words = _UNKNOWN if code is None else _WORDS.get(code & 0xFF, _UNKNOWN)
    if isinstance(error, PoolTimeout):
        kind, words = ErrorKind.BUSY, "all connections are in use"
    detail = str(driver if driver is not None else error).splitlines()[0]
    message = f"database {path}: {words} ({detail})" if words else f"database {path}: {detail}"
    return StoreError(message, kind=kind, from_driver=True)


@contextmanager
def translated(path: Path) -> Iterator[None]:
    """Turn what the driver raises into a StoreError with one clear line.

    The driver's own exception is not shown with it: it may quote what was to be stored.
    """
    try:
        yield
    except (SQLAlchemyError, sqlite3.Error) as error:
        raise translate_db_error(path, error) from None
    except UnicodeEncodeError as error:  # half a surrogate pair: valid in JSON, not in UTF-8
        raise StoreError(f"a text cannot be stored: {error.reason}") from None


def database_url(path: Path, driver: str) -> URL:
    """The SQLAlchemy address of an SQLite file that is there; connecting never makes one."""
    address = path.absolute().as_uri()
    return URL.create(driver, database=address, query={"mode": "rw", "uri": "true"})


def make_file(path: Path) -> None:
    """Make an empty file that only this user can read, unless there is one already.

    SQLite gives the logs beside it the same permissions. Raises OSError.
    """
    with suppress(FileExistsError):
        os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, PRIVATE_FILE))


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
        options = connection.get_execution_options()
        writes = options.get(_WRITE_OPTION, False)
        waits = options.get(_WAIT_OPTION, True)
        if connection.info.get(_WAIT_OPTION, True) != waits:
            timeout_ms = BUSY_TIMEOUT_MS if waits else 0
            connection.exec_driver_sql(f"PRAGMA busy_timeout = {timeout_ms}")
            connection.info[_WAIT_OPTION] = waits
        connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")


def writing(engine: Engine) -> Engine:
    """The same engine, whose transactions take the write lock when they begin."""
    return engine.execution_options(**{_WRITE_OPTION: True})


class SqliteBackend:
    """An SQLite file that `migrate` has prepared. See `bot.store.session.Backend`."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.name = str(path)
        self._identity = FileIdentity(path)
        self._reading: sqlite3.Connection | None = None
        engine = create_async_engine(database_url(path, "sqlite+aiosqlite"), hide_parameters=True)
        install_pragmas(engine.sync_engine)
        self.reader: AsyncEngine = engine
        self.writer: AsyncEngine = engine.execution_options(**{_WRITE_OPTION: True})

    @contextmanager
    def translated(self) -> Iterator[None]:
        """Turn what the driver raises into a StoreError, as the function of this name does."""
        with translated(self.path):
            yield

    async def begin_write(self, session: AsyncSession, *, wait: bool = True) -> None:
        """Take the file's write lock. Raises DatabaseGoneError if nobody would find the rows.

        A thread that waits for the lock cannot be cancelled: what can be left out does not `wait`.
        """
        self.check_present()
        await session.connection(execution_options={_WAIT_OPTION: wait})
        # The log is there while a transaction is open, unless somebody has removed it.
        if not self.path.with_name(f"{self.path.name}-wal").exists():
            raise DatabaseGoneError(self.name, "its write-ahead log was removed")

    def check_present(self) -> None:
        """Raise DatabaseGoneError unless the file at the path is the one that is open."""
        if (change := self._identity.change()) is not None:
            raise DatabaseGoneError(self.name, f"its file {change}")

    async def rescue(self) -> bool:
        """Write the database back to its path, if its file was removed; whether it was.

        The connections still have the file that nobody else finds any more. Nothing is put over a
        file that is there. Raises StoreError, OSError.
        """
        part = self.path.with_name(f".{self.path.name}.rescued")
        if self.path.exists() or not self.path.parent.is_dir():
            return False
        try:
            with (
                self.translated(),
                closing(sqlite3.connect(part, check_same_thread=False)) as target,
            ):
                part.chmod(PRIVATE_FILE)
                async with self.reader.connect() as connection:
                    raw = await connection.get_raw_connection()
                    await raw.driver_connection.backup(target)  # type: ignore[union-attr]
            os.link(part, self.path)
        finally:
            part.unlink(missing_ok=True)
        return True

    def read_now(self, query: str) -> Sequence[tuple[Any, ...]] | None:
        """Return the query's rows; None if the file cannot be read at this moment."""
        try:
            if self._reading is None:
                address = f"{self.path.absolute().as_uri()}?mode=ro"
                self._reading = sqlite3.connect(address, uri=True, timeout=0)
            return self._reading.execute(query).fetchall()
        except sqlite3.Error:
            return None

    async def close(self) -> None:
        """Close every connection."""
        if self._reading is not None:
            self._reading.close()
        await self.reader.dispose()
