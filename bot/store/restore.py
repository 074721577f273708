"""Put a backup in the place of the database."""

from __future__ import annotations

import os
import sqlite3
import tempfile
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from sqlalchemy import NullPool, create_engine

from bot.store.backup import FILES_TABLE, is_inside
from bot.store.errors import StoreError, Trouble
from bot.store.migrate import check_revision
from bot.store.sqlite import database_url, translated

_LOGS: Final = ("-wal", "-shm", "-journal")


class DatabaseThereError(StoreError):
    """There is a database already; it is replaced only on demand."""

    def __init__(self, path: Path) -> None:
        super().__init__(f"there is a database at {path} already; --force puts it aside")


@dataclass(frozen=True, slots=True)
class Restored:
    """What was put back: the schema's revision, files written, and where the old database is."""

    revision: str
    files: int
    aside: Path | None


def restore_database(backup: Path, destination: Path, *, force: bool = False) -> Restored:
    """Make `destination` the database that `backup_database` copied to `backup`.

    Files that came with it are written to the folder of `destination` unless they are there. An
    older database is kept beside the new one under another name, and only replaced with `force`.

    Blocks. Raises StoreError, and nothing is changed: no such backup, not a backup, damaged, made
    by a newer version, not writable, disk full; a bot runs on the database (with `force`, too).
    DatabaseThereError: there is a database, and `force` is not given.
    """
    if not backup.is_file():
        raise StoreError(f"there is no backup at {backup}")
    if destination.exists() and destination.samefile(backup):
        raise StoreError(f"backup {backup}: this is the database itself")
    try:
        destination.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".restore-", dir=destination.parent) as folder:
            copy = Path(folder) / destination.name
            _copy(backup, copy)
            revision = _verified(backup, copy)
            if destination.exists():
                if not force:
                    raise DatabaseThereError(destination)
                _check_idle(destination)
            with translated(copy):
                files = _put_files_back(copy, destination.parent)
            aside = _put_aside(destination)
            copy.replace(destination)
    except OSError as error:
        raise StoreError(f"restore {destination}: {error.strerror or error}") from error
    return Restored(revision, files, aside)


def _copy(backup: Path, copy: Path) -> None:
    with (
        translated(backup),
        closing(sqlite3.connect(f"{backup.resolve().as_uri()}?mode=ro", uri=True)) as source,
        closing(sqlite3.connect(copy)) as target,
    ):
        source.backup(target)
        target.execute("PRAGMA journal_mode = DELETE")


def _verified(backup: Path, copy: Path) -> str:
    """The copy's revision. The errors name the backup, which is what the operator knows."""
    with translated(backup):
        with closing(sqlite3.connect(copy)) as database:
            verdict = database.execute("PRAGMA integrity_check").fetchone()[0]
            if verdict != "ok":
                raise StoreError(f"backup {backup}: damaged ({verdict})", trouble=Trouble.DAMAGED)
            if (broken := database.execute("PRAGMA foreign_key_check").fetchone()) is not None:
                raise StoreError(
                    f"backup {backup}: a row of {broken[0]} refers to a missing row",
                    trouble=Trouble.DAMAGED,
                )
        engine = create_engine(database_url(copy, "sqlite"), poolclass=NullPool)
        with engine.connect() as connection:
            return check_revision(backup, connection)


def _check_idle(database: Path) -> None:
    """Refuse while anybody has the database open: SQLite leaves its log only when alone.

    Whatever the log held is in the one file then.
    """
    with closing(sqlite3.connect(database, timeout=0)) as connection:
        try:
            connection.execute("PRAGMA journal_mode = DELETE")
        except sqlite3.DatabaseError as error:
            if error.sqlite_errorcode & 0xFF in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
                raise StoreError(
                    f"database {database}: a bot works on it; stop that first", trouble=Trouble.BUSY
                ) from error
            # Damaged otherwise: perhaps the very reason for the restore.


def _put_files_back(copy: Path, data_dir: Path) -> int:
    """Write the backup's files where none are, and take them out of the database."""
    written = 0
    with closing(sqlite3.connect(copy)) as database:
        found = database.execute("SELECT 1 FROM sqlite_master WHERE name = ?", (FILES_TABLE,))
        if found.fetchone() is None:
            return 0
        for path, content in database.execute(f"SELECT path, content FROM {FILES_TABLE}"):
            target = data_dir / path
            if is_inside(path) and not target.exists():
                target.parent.mkdir(parents=True, exist_ok=True)
                part = target.with_name(f".{target.name}.part")
                part.write_bytes(content)
                part.replace(target)
                written += 1
        with database:
            database.execute(f"DROP TABLE {FILES_TABLE}")
        database.execute("VACUUM")
    return written


def _put_aside(database: Path) -> Path | None:
    """Rename the database and its logs; where to."""
    aside = None
    stamp = datetime.now(UTC).strftime("%Y%m%d-%H%M%S")
    if database.exists():
        aside = database.with_name(f"{database.name}.before-restore-{stamp}")
        number = 1
        while aside.exists():
            number += 1
            aside = database.with_name(f"{database.name}.before-restore-{stamp}-{number}")
    for suffix in _LOGS:
        log = database.with_name(database.name + suffix)
        if log.exists():
            # A log without its database would be taken for the new one's.
            os.replace(log, f"{aside or database}{suffix if aside else suffix + '.lost'}")
    if aside is not None:
        database.replace(aside)
    return aside
