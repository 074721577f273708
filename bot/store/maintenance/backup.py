"""A consistent copy of an SQLite database while the bot runs, with the files its jobs need."""

from __future__ import annotations

import sqlite3
import tempfile
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from bot.files import open_private
from bot.store.backends.sqlite import BUSY_TIMEOUT_MS, translated
from bot.store.errors import ErrorKind, StoreError
from bot.store.maintenance.lost import is_blank
from bot.store.paths import resolve
from bot.store.states import JobState

FILES_TABLE: Final = "backup_files"
"""In a backup only: files of the data folder that jobs under way need, by their stored path."""

# What a job that goes on after the restore will ask for: its picture, or the clip it delivers.
_NEEDED: Final = """
    SELECT DISTINCT assets.path FROM assets JOIN jobs ON jobs.image_asset_id = assets.id
    WHERE jobs.state IN (:queued, :running)
    UNION
    SELECT generations.path FROM generations JOIN jobs ON jobs.id = generations.job_id
    WHERE jobs.state = :rendered AND generations.deleted_at IS NULL
"""


@dataclass(frozen=True, slots=True)
class BackupReport:
    """The contents of a backup beside the rows: files put in, stored paths of those not found."""

    files: int
    missing: tuple[str, ...]


def backup_database(source: Path, destination: Path) -> BackupReport:
    """Copy the database `source` to the file `destination`, replacing it only when complete.

    The copy is an SQLite database of one file, for this user only. The files of the data folder
    (where `source` lies) that unfinished jobs need lie in it too; `restore_database` puts them
    back.

    Blocks. Raises StoreError: no such database, an empty one, not writable, disk full, damaged
    source.
    """
    if not source.is_file():
        raise StoreError(f"there is no database at {source}")
    if destination.exists() and destination.samefile(source):
        raise StoreError(f"backup {destination}: this is the database itself")
    if is_blank(source):
        # It would take the place of a backup that holds something.
        raise StoreError(f"database {source}: it is empty; no backup was made", kind=ErrorKind.GONE)
    try:
        with tempfile.TemporaryDirectory(prefix=".backup-", dir=destination.parent) as folder:
            copy = Path(folder) / destination.name
            open_private(copy, "xb").close()
            copied = _copy(source, copy)
            copy.replace(destination)
            return copied
    except OSError as error:
        raise StoreError(f"backup {destination}: {error.strerror or error}") from error


def _copy(source: Path, copy: Path) -> BackupReport:
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
        _forget_tokens(target)
        return _add_files(target, source.parent)


def _forget_tokens(target: sqlite3.Connection) -> None:
    """Whoever has an interaction's token can answer in the bot's name for a quarter of an hour."""
    columns = {row[1] for row in target.execute("PRAGMA table_info(jobs)")}
    if "interaction_token" in columns:
        target.execute("PRAGMA secure_delete = ON")
        with target:
            target.execute("UPDATE jobs SET interaction_token = NULL")


def _add_files(target: sqlite3.Connection, data_dir: Path) -> BackupReport:
    missing = []
    with target:
        target.execute(f"CREATE TABLE {FILES_TABLE} (path TEXT PRIMARY KEY, content BLOB NOT NULL)")
        for path in _needed(target):
            try:
                content = resolve(data_dir, path).read_bytes()
            except OSError:
                missing.append(path)
                continue
            target.execute(f"INSERT INTO {FILES_TABLE} VALUES (?, ?)", (path, content))
        files = target.execute(f"SELECT count(*) FROM {FILES_TABLE}").fetchone()[0]
    return BackupReport(files, tuple(missing))


def _needed(target: sqlite3.Connection) -> Iterator[str]:
    tables = target.execute("SELECT name FROM sqlite_master WHERE name = 'generations'")
    if tables.fetchone() is None:
        return  # a database that no bot has opened yet
    states = {state.value: state.value for state in JobState}
    for (path,) in target.execute(_NEEDED, states).fetchall():
        yield path


def _connect(uri: str) -> sqlite3.Connection:
    return sqlite3.connect(uri, uri=True, timeout=BUSY_TIMEOUT_MS / 1000)
