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

from bot.files import PRIVATE_FILE, make_private_folder, open_private
from bot.store.backends.sqlite import database_url, translated
from bot.store.errors import ErrorKind, StoreError
from bot.store.maintenance.backup import FILES_TABLE
from bot.store.maintenance.lost import is_blank
from bot.store.maintenance.migrate import check_revision, migrate
from bot.store.paths import OutsideError, resolve
from common.atomic_write import atomic_write

_LOGS: Final = ("-wal", "-shm", "-journal")
# Never a folder of ours: a file that is not there is told as one that is gone.
_REFUSED: Final = "refused"
_CUT_CLIP: Final = """
    UPDATE generations SET path = ?,
        deleted_at = coalesce(deleted_at, strftime('%Y-%m-%d %H:%M:%f000', 'now'))
    WHERE id = ?
"""
_CUT_PICTURE: Final = "UPDATE assets SET path = ? WHERE id = ?"


class DatabaseThereError(StoreError):
    """There is a database already; it is replaced only on demand."""

    def __init__(self, path: Path) -> None:
        super().__init__(f"there is a database at {path} already; --force puts it aside")


@dataclass(frozen=True, slots=True)
class RestoreReport:
    """The outcome of restoring a backup.

    Attributes:
        revision: of the schema.
        files: written to the data folder.
        aside: where the older database is, if there was one.
        refused: clips and pictures whose rows named a file that is none of the bot's.
    """

    revision: str
    files: int
    aside: Path | None
    refused: int = 0


def restore_database(backup: Path, destination: Path, *, force: bool = False) -> RestoreReport:
    """Make `destination` the database that `backup_database` copied to `backup`.

    Files that came with it are written to the folder of `destination` unless they are there. An
    older database is kept beside the new one under another name, and only replaced with `force`.
    Rows that name files outside that folder are cut off from them: the clip counts as deleted.

    Blocks. Raises StoreError, and nothing is changed: no such backup, not a backup, damaged, made
    by a newer version, not writable, disk full; a bot runs on the database (with `force`, too).
    DatabaseThereError: there is a database, and `force` is not given.
    """
    if not backup.is_file():
        raise StoreError(f"there is no backup at {backup}")
    if destination.exists() and destination.samefile(backup):
        raise StoreError(f"backup {backup}: this is the database itself")
    try:
        make_private_folder(destination.parent)
        with tempfile.TemporaryDirectory(prefix=".restore-", dir=destination.parent) as folder:
            copy = Path(folder) / destination.name
            open_private(copy, "xb").close()
            _copy(backup, copy)
            revision = _verified(backup, copy)
            _check_place(destination, force=force)
            with translated(copy):
                files = _put_files_back(copy, destination.parent)
                refused = _cut_off(copy, destination.parent)
            aside = _put_aside(destination)
            copy.replace(destination)
    except OSError as error:
        raise StoreError(f"restore {destination}: {error.strerror or error}") from error
    return RestoreReport(revision, files, aside, refused)


def make_empty_database(destination: Path, *, force: bool = False) -> Path | None:
    """Begin anew on purpose, beside the clips of an earlier run; where the old database is now.

    Blocks. Raises as `restore_database` does.
    """
    try:
        make_private_folder(destination.parent)
        _check_place(destination, force=force)
        aside = _put_aside(destination)
    except OSError as error:
        raise StoreError(f"restore {destination}: {error.strerror or error}") from error
    migrate(destination, anew=True)
    return aside


def _check_place(destination: Path, *, force: bool) -> None:
    """Refuse to take the place of a database without `force`, or of one that a bot works on."""
    if is_blank(destination):
        return
    if not force:
        raise DatabaseThereError(destination)
    _check_idle(destination)


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
                raise StoreError(f"backup {backup}: damaged ({verdict})", kind=ErrorKind.DAMAGED)
            if (broken := database.execute("PRAGMA foreign_key_check").fetchone()) is not None:
                raise StoreError(
                    f"backup {backup}: a row of {broken[0]} refers to a missing row",
                    kind=ErrorKind.DAMAGED,
                )
        engine = create_engine(
            database_url(copy, "sqlite"), poolclass=NullPool, hide_parameters=True
        )
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
                    f"database {database}: a bot works on it; stop that first", kind=ErrorKind.BUSY
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
            target = _place_of(path, data_dir)
            if target is not None and not target.exists():
                make_private_folder(target.parent)
                atomic_write(target, content, mode=PRIVATE_FILE, unique=False)
                written += 1
        with database:
            database.execute(f"DROP TABLE {FILES_TABLE}")
        database.execute("VACUUM")
    return written


def _place_of(path: str, data_dir: Path) -> Path | None:
    """Return where a file of the backup goes; None if that is outside the data folder."""
    try:
        return resolve(data_dir, path)
    except OutsideError:
        return None


def _cut_off(copy: Path, data_dir: Path) -> int:
    """Take paths that lead out of the data folder from the rows; of how many rows."""
    with closing(sqlite3.connect(copy)) as database, database:
        clips = _outside(database, "generations", data_dir)
        for (number,) in clips:
            database.execute(_CUT_CLIP, (f"{_REFUSED}/{number}", number))
        pictures = _outside(database, "assets", data_dir)
        for (number,) in pictures:
            database.execute(_CUT_PICTURE, (f"{_REFUSED}/{number}", number))
        return len(clips) + len(pictures)


def _outside(database: sqlite3.Connection, table: str, data_dir: Path) -> list[tuple[str | int]]:
    rows = database.execute(f"SELECT id, path FROM {table}").fetchall()
    return [(number,) for number, path in rows if _place_of(str(path), data_dir) is None]


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
