"""A consistent copy of the database while the bot runs."""

from __future__ import annotations

import sqlite3
import tempfile
from contextlib import closing
from pathlib import Path

from bot.store.database import BUSY_TIMEOUT_MS, translated
from bot.store.errors import StoreError


def backup_database(source: Path, destination: Path) -> None:
    """Copy the database `source` to the file `destination`, replacing it only when complete.

    Blocks. Raises StoreError: no such database, not writable, disk full, damaged source.
    """
    if not source.is_file():
        raise StoreError(f"there is no database at {source}")
    try:
        with tempfile.TemporaryDirectory(prefix=".backup-", dir=destination.parent) as folder:
            copy = Path(folder) / destination.name
            _copy(source, copy)
            copy.replace(destination)
    except OSError as error:
        raise StoreError(f"backup {destination}: {error.strerror or error}") from error


def _copy(source: Path, copy: Path) -> None:
    with (
        translated(source),
        closing(_connect(f"{source.resolve().as_uri()}?mode=ro")) as original,
        closing(_connect(copy.resolve().as_uri())) as target,
    ):
        original.backup(target)
        # The copy is one file: no log beside it that could be forgotten.
        target.execute("PRAGMA journal_mode = DELETE")
        verdict = target.execute("PRAGMA integrity_check").fetchone()[0]
    if verdict != "ok":
        raise StoreError(f"database {source}: damaged ({verdict}); no backup was made")


def _connect(uri: str) -> sqlite3.Connection:
    return sqlite3.connect(uri, uri=True, timeout=BUSY_TIMEOUT_MS / 1000)
