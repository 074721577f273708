"""Transactions of one database, whatever keeps it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import AbstractContextManager, asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any, Protocol

from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession

from bot.store.errors import StoreError
from bot.store.fencing import Fence


class Backend(Protocol):
    """The interface to a database: `SqliteBackend` or `PostgresBackend`."""

    @property
    def name(self) -> str:
        """The database as errors call it; never with a password."""

    @property
    def path(self) -> Path | None:
        """The database's file, if it is one on this machine."""

    @property
    def reader(self) -> AsyncEngine:
        """Its transactions see one moment of the database."""

    @property
    def writer(self) -> AsyncEngine:
        """Its transactions write."""

    def translated(self) -> AbstractContextManager[None]:
        """Turns what the driver raises inside it into a StoreError with one clear line."""

    def check_present(self) -> None:
        """Raise DatabaseGoneError if what was opened is no longer where others look for it."""

    async def rescue(self) -> bool:
        """Put back a file that was removed; whether that was done. Raises StoreError, OSError."""

    async def begin_write(self, session: AsyncSession, *, wait: bool = True) -> None:
        """Begin the transaction, with the locks that it needs as a whole."""

    def read_now(self, query: str) -> Sequence[tuple[Any, ...]] | None:
        """Return the query's rows without waiting; None if that is not possible."""

    async def close(self) -> None:
        """Close every connection."""


class Observer(Protocol):
    """An observer of how the database fares. Its methods return at once and never raise."""

    def database_waited(self, seconds: float) -> None:
        """A write waited so long for other writes."""

    def database_failed(self, kind: str) -> None:
        """A transaction failed; `kind` is one of `bot.store.errors.ErrorKind`."""


class Database:
    """One database, for one event loop. Transactions come from `read` and `write`."""

    def __init__(self, backend: Backend, observer: Observer | None = None) -> None:
        self.backend = backend
        self.fence = Fence(backend.name)
        self._observer = observer
        # There is one writer at a time. Waiting here is fair; in SQLite it is a polled lottery.
        self._write_lock = asyncio.Lock()
        self._closed = False

    @asynccontextmanager
    async def read(self) -> AsyncIterator[AsyncSession]:
        """A session that sees one moment of the database. Raises StoreError."""
        self._check_open()
        with self._observed(), self.backend.translated():
            self.backend.check_present()
            async with AsyncSession(self.backend.reader, expire_on_commit=False) as session:
                yield session

    @asynccontextmanager
    async def write(
        self, *, exclusive: bool = False, fenced: bool = True, wait: bool = True
    ) -> AsyncIterator[AsyncSession]:
        """A session that commits when the block ends and rolls back if it raises. StoreError.

        One write at a time in this program; SQLite lets no other program write meanwhile either.
        In PostgreSQL another may: rows that shall stay as they were read are read FOR UPDATE.

        Args:
            exclusive: keep every other program's writes out until the block has ended.
            fenced: raise TakenOverError if another bot has acquired the lease.
            wait: for other programs' writes, where waiting could not be cancelled.
        """
        self._check_open()
        asked = time.perf_counter()
        async with self._write_lock:
            with self._observed(), self.backend.translated():
                session = AsyncSession(self.backend.writer, expire_on_commit=False)
                async with session, session.begin():
                    await self.backend.begin_write(session, wait=wait)
                    if fenced:
                        await self.fence.check(session, exclusive=exclusive)
                    if self._observer is not None:
                        self._observer.database_waited(time.perf_counter() - asked)
                    yield session

    async def close(self) -> None:
        """Finish the running write, then close every connection. May be called again."""
        self._closed = True
        async with self._write_lock:
            await self.backend.close()

    @contextmanager
    def _observed(self) -> Iterator[None]:
        try:
            yield
        except StoreError as error:
            # The others are about what was asked for.
            if self._observer is not None and error.from_driver:
                self._observer.database_failed(error.kind)
            raise

    def _check_open(self) -> None:
        if self._closed:
            raise StoreError(f"database {self.backend.name}: the store is closed")
