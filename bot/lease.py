"""The data-folder lease: the most recently started bot works on a folder and its database."""

from __future__ import annotations

from pathlib import Path

from bot.files import PRIVATE_FILE
from bot.store import Store
from bot.store.errors import DatabaseGoneError
from bot.store.identity import FileIdentity
from bot.store.maintenance.lost import MARKER
from common.atomic_write import atomic_write


class DataFolderLease:
    """The right to work on a data folder: its database's lease, as long as the folder is there.

    A second bot, started by mistake or while the first is still ending, would render the same jobs
    and answer the same commands. It takes over instead, and the first one notices and ends.

    The folder's identity is watched too: a database that was moved away with its folder has its
    lease still, but nobody would find what is written to it.
    """

    def __init__(self, data_dir: Path) -> None:
        self._data_dir = data_dir
        self._store: Store | None = None
        self._folder: FileIdentity | None = None

    async def acquire(self, store: Store) -> None:
        """Take the database's lease, and mark the folder as used. Raises StoreError, OSError."""
        await store.lease.acquire()
        atomic_write(self._data_dir / MARKER, store.lease.owner, mode=PRIVATE_FILE)
        self._folder = FileIdentity(self._data_dir)
        self._store = store

    def check_folder(self) -> None:
        """Raise DatabaseGoneError if the folder is not the one of `acquire`; one `stat`."""
        if (change := self._change()) is not None:
            raise DatabaseGoneError(str(self._data_dir), f"its folder {change}")

    def is_held(self) -> bool:
        """Return True unless the folder is gone, or another bot has taken over."""
        return self._change() is None and (self._store is None or not self._store.lease.is_lost())

    def _change(self) -> str | None:
        return None if self._folder is None else self._folder.change()
