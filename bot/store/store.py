"""The store: everything the bot must not forget, in one SQLite file."""

from __future__ import annotations

import asyncio
from pathlib import Path
from types import TracebackType
from typing import Self

from bot.store.backup import backup_database
from bot.store.database import Database
from bot.store.generations import Generations
from bot.store.jobs import Jobs
from bot.store.migrate import migrate
from bot.store.ratings import Ratings
from bot.store.users import Users


class Store(Jobs, Generations, Ratings, Users):
    """Jobs, clips, ratings and users of one data folder.

    Every method is one transaction: it is wholly written when it returns, and not at all when it
    raises. Safe for many tasks of the event loop in which it was opened.
    """

    @classmethod
    async def open(cls, database_path: Path) -> Self:
        """Open the database, after making or upgrading it where needed.

        Raises StoreError with one clear line: folder not writable, not a database, made by a
        newer version, disk full.
        """
        await asyncio.to_thread(migrate, database_path)
        return cls(Database(database_path))

    @property
    def path(self) -> Path:
        """The database file."""
        return self._database.path

    async def backup(self, destination: Path) -> None:
        """Copy the database as it is now to a file; see `backup_database`."""
        await asyncio.to_thread(backup_database, self.path, destination)

    async def close(self) -> None:
        """Close every connection; later calls raise StoreError. May be called again."""
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
